"""The ``[dram]`` table: DIMMs, their fault rates and their ECC, for ``hwsim faults``."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

from hwsim.elementary import added
from hwsim.hardware.dram.dimms import GEOMETRIES, DramGeometry
from hwsim.hardware.dram.fault_model import ECCS, FaultModel
from hwsim.hardware.dram.fit_tables import FIT_TABLES, FIXED, MAX_FIT, FaultRate
from hwsim.scenario.fields import (
    DurationOrNever,
    Flag,
    PositiveDuration,
    Share,
    choice,
    number,
    whole,
)
from hwsim.scenario.keys import Model, filled, key
from hwsim.scenario.problems import Finding
from hwsim.spec import DramSpec
from hwsim.units import DURATION_UNITS_NS, PAGE_BYTES, format_bytes

_NS_PER_HOUR = DURATION_UNITS_NS["h"]
MAX_FAULTS_PER_DIMM = 100
_FIT_SECONDS = 1e9 * 3600.0
_FIT = "FIT (faults in 10^9 hours) of a chip, of mode channel of a channel"
_CAPACITIES = ", ".join(
    f"{name} {format_bytes(each.pages * PAGE_BYTES)}" for name, each in GEOMETRIES.items()
)
_OWN = {  # key of the file -> of the geometry
    "ranks": "ranks",
    "banks": "banks",
    "rows": "rows",
    "columns": "columns",
    "chips": "chips_per_rank",
    "width": "chip_width_bits",
}


class Fault(Model):
    """One row of a fault table."""

    mode: Annotated[str, choice(*FIXED)] = key("how far the fault reaches; channel: all its DIMMs and chips")
    transient: Annotated[float, number(0, MAX_FIT, _FIT)] = key("faults that a rewrite heals", default=0.0)
    permanent: Annotated[float, number(0, MAX_FIT, _FIT)] = key("faults that stay", default=0.0)
    ue_share: Share | None = key(
        "share of these faults that is uncorrectable by itself; needed with ecc = sddc", default=None
    )


class Dram(Model, fills=DramSpec):
    """DIMMs, their faults and their ECC: for hwsim faults, and for machines whose errors are of kind dram."""

    geometry: Annotated[str, choice(*GEOMETRIES)] = key(
        f"a preset ({_CAPACITIES}): a machine has all of it, and at most as much memory; hwsim faults "
        "samples such DIMMs",
        default="ddr2-faultsim",
    )
    ranks: Annotated[int, whole(1, 64, "ranks, a power of two")] | None = key(
        "ranks of a DIMM; default: the preset's", default=None
    )
    banks: Annotated[int, whole(1, 1024, "banks, a power of two")] | None = key(
        "banks of a chip, in as many groups as the preset has; default: the preset's", default=None
    )
    rows: Annotated[int, whole(1, 1 << 24, "rows, a power of two")] | None = key(
        "rows of a bank; default: the preset's", default=None
    )
    columns: Annotated[int, whole(1, 1 << 16, "columns, a power of two")] | None = key(
        "columns of a row; default: the preset's", default=None
    )
    chips: Annotated[int, whole(1, 144, "chips")] | None = key(
        "chips of a rank with those for ECC; default: the preset's", default=None
    )
    width: Annotated[int, whole(1, 64, "bits")] | None = key(
        "data bits of a chip; default: the preset's", default=None
    )
    fit: Annotated[str, choice(*FIT_TABLES)] = key(
        "rates of faults by mode: jaguar, DDR2 (Sridharan and Liberty, SC 2012), or alibaba, DDR4 logs as "
        "classified in lpharch/DRAM_FAULT_SIM",
        default="jaguar",
    )
    fault: tuple[Fault, ...] = key("rates of faults of your own, instead of fit", default=())
    fit_factor: Annotated[float, number(0, 1e6)] = key("times all rates", default=1.0)
    ecc: Annotated[str, choice(*ECCS)] = key(
        "what is corrected: secded one wrong bit of a word, chipkill (ideal) whatever one x4 chip does in a "
        "symbol of two beats, sddc as chipkill but for the ue_share of single faults"
    )
    scrub: DurationOrNever = key(
        "hwsim faults only: a transient fault is gone when the next sweep begins", default=24 * _NS_PER_HOUR
    )
    years: Annotated[float, number(0.001, 100, "years of 8760 h")] = key(
        "hwsim faults only: how long each DIMM is watched", default=7.0
    )
    transient: Flag = key("false: no transient faults", default=True)
    permanent: Flag = key("false: no permanent faults", default=True)
    trials: Annotated[int, whole(1, 10**12, "DIMMs")] = key(
        "hwsim faults only: how many are sampled", default=100_000_000
    )
    on_die: Flag | None = key(
        "each chip corrects by itself, before the ECC: SEC of (136,128), so that a bit fault never leaves "
        "it; default: true with DDR5 (JESD79-5)",
        default=None,
    )
    mirror: Flag = key(
        "machines only: two channels hold the same lines, and half the memory is usable; a line is lost when "
        "both copies are"
    )
    frailty: Annotated[float, number(0, 5)] = key(
        "machines only: log standard deviation of a machine's own factor on all rates, whose mean is 1; "
        "assumption"
    )
    intermittent: Share = key(
        "machines only: share of the permanent faults that show only in windows; no source for a share"
    )
    on_ns: PositiveDuration = key("mean window in which an intermittent fault shows; assumption", "on")
    off_ns: PositiveDuration = key("mean time between its windows; assumption", "off")
    show: Share = key(
        "machines only: median chance that a read of a faulty line meets wrong bits, as what is stored may "
        "agree with a stuck cell; assumption"
    )
    show_sigma: Annotated[float, number(0, 5)] = key(
        "machines only: its log standard deviation; with 2.4 a fifth of the faulty machines makes over 90 % "
        "of the errors (Schroeder et al., SIGMETRICS 2009)"
    )
    max_lines: Annotated[int, whole(1, 1_000_000_000, "lines")] | None = key(
        "machines only: at most so many lines of one fault go bad, at random; default: all; a bank has "
        "millions, of which each that is met is played (with tolerant = 3, which survives them, set a limit)",
        default=None,
    )
    row_sparing: Annotated[int, whole(1, 1_000_000_000, "corrected errors")] | None = key(
        "machines only: after so many a spare row takes over a fault within one row; default: never"
    )
    ppr: Flag = key("machines only: post-package repair, faults within a row are gone after the next boot")

    @property
    def has_on_die(self) -> bool:
        """Whether the chips correct a bit by themselves."""
        return self._geometry().technology == "DDR5" if self.on_die is None else self.on_die

    @property
    def capacity_pages(self) -> int:
        """Pages of the machine's DIMMs; mirrored, half of what is fitted."""
        return self._geometry().pages // (2 if self.mirror else 1)

    def _geometry(self) -> DramGeometry:
        own = {field: getattr(self, key) for key, field in _OWN.items() if getattr(self, key) is not None}
        preset = GEOMETRIES[self.geometry]
        if "banks" in own:  # of a chip: in as many groups as the preset has
            own["banks"] //= preset.bank_groups
        return replace(preset, **own)

    def _rates(self) -> tuple[FaultRate, ...]:
        if self.fault:
            return tuple(FaultRate(x.mode, x.transient, x.permanent, x.ue_share) for x in self.fault)
        return FIT_TABLES[self.fit]

    def findings(self) -> list[Finding]:
        """What does not go together."""
        keys = {field: key for key, field in _OWN.items()}
        geometry, impossible = self._geometry(), "impossible geometry"
        found = [(keys.get(each.key, "geometry"), impossible, each.allowed) for each in geometry.problems()]
        groups = geometry.bank_groups
        if self.banks is not None and self.banks % groups:
            found.append(("banks", impossible, f"a power of two from {groups} on, in {groups} groups"))
        if not found:
            found += self._ecc_problems(geometry)
        if self.mirror and geometry.channels < 2:
            found.append(("mirror", "there is one channel", "a geometry with two or more channels"))
        faults = self.to_model().faults_per_dimm
        if not found and faults > MAX_FAULTS_PER_DIMM:
            message = f"{faults:.3g} faults a DIMM over {self.years:g} years"
            found.append(("fit_factor", message, f"rates of up to {MAX_FAULTS_PER_DIMM} a DIMM"))
        if self.ecc == "sddc" and any(each.ue_share is None for each in self._rates()):
            message = "sddc needs the P(UE | mode) of every fault"
            found.append(("ecc", message, 'fit = "alibaba", or ue_share'))
        return [Finding(("dram", key), message, allowed) for key, message, allowed in found]

    def _ecc_problems(self, geometry: DramGeometry) -> list[tuple[str, str, str]]:
        """A code needs check bits, and one that corrects a chip two check symbols of eight bits."""
        if self.ecc != "none" and geometry.ecc_bits_per_beat == 0:
            return [("ecc", "these chips hold no check bits", '"none", or more chips')]
        of_chips = geometry.chip_width_bits == 4 and geometry.ecc_chips_per_rank >= 2
        if self.ecc in ("chipkill", "sddc") and not of_chips:
            return [("ecc", "corrects x4 chips, two of them for check symbols", "width = 4")]
        return []

    def to_model(self) -> FaultModel:
        """The sampler's input; every check has passed before."""
        return FaultModel(
            geometry=self._geometry(),
            rates=self._rates(),
            ecc=self.ecc,
            years=self.years,
            scrub_h=None if self.scrub is None else self.scrub / _NS_PER_HOUR,
            fit_factor=self.fit_factor,
            transient=self.transient,
            permanent=self.permanent,
            on_die=self.has_on_die,
        )

    def to_spec(self) -> DramSpec:
        """The machine's DIMMs; every check has passed before."""
        keep_transient, keep_permanent = self.fit_factor * self.transient, self.fit_factor * self.permanent
        geometry, preset = self._geometry(), GEOMETRIES[self.geometry]
        own = {name: value for name, value in asdict(geometry).items() if value != getattr(preset, name)}
        rates = tuple(
            (mode, transient * keep_transient, permanent * keep_permanent, ue_share)
            for mode, transient, permanent, ue_share in self._rates()
        )
        found: DramSpec = filled(self, own=tuple(sorted(own.items())), rates=rates, on_die=self.has_on_die)
        return found

    def faults_per_s(self) -> float:
        """Faults of all DIMMs of the machine in a second."""
        geometry = self._geometry()
        channels = geometry.sockets * geometry.channels
        return added(
            (transient + permanent) * (channels if mode == "channel" else geometry.total_chips) / _FIT_SECONDS
            for mode, transient, permanent, _ in self.to_spec().rates
        )
