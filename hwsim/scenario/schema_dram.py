"""The ``[dram]`` table: DIMMs, their fault rates and their ECC, for ``hwsim faults``."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

from pydantic import Field

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
from hwsim.scenario.problems import Finding
from hwsim.scenario.schema_machine import Model
from hwsim.spec import DramSpec

_NS_PER_HOUR = 3_600_000_000_000
MAX_FAULTS_PER_DIMM = 100
_FIT_SECONDS = 1e9 * 3600.0
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

    mode: Annotated[str, choice(*FIXED)] = Field(description="how far the fault reaches")
    transient: Annotated[float, number(0, MAX_FIT)] = Field(0.0, description="FIT of a chip")
    permanent: Annotated[float, number(0, MAX_FIT)] = Field(0.0, description="FIT of a chip")
    ue_share: Share | None = Field(None, description="P(UE | fault) with ecc = sddc")


class Dram(Model):
    """DIMMs over their life."""

    geometry: Annotated[str, choice(*GEOMETRIES)] = Field("ddr2-faultsim", description="a preset")
    ranks: Annotated[int, whole(1, 64)] | None = Field(None, description="instead of the preset's")
    banks: Annotated[int, whole(1, 1024)] | None = Field(None, description="banks of a chip")
    rows: Annotated[int, whole(1, 1 << 24)] | None = Field(None, description="rows of a bank")
    columns: Annotated[int, whole(1, 1 << 16)] | None = Field(None, description="columns of a row")
    chips: Annotated[int, whole(1, 144)] | None = Field(None, description="chips of a rank, ECC included")
    width: Annotated[int, whole(1, 64)] | None = Field(None, description="bits of a chip")
    fit: Annotated[str, choice(*FIT_TABLES)] = Field("jaguar", description="fault rates")
    fault: tuple[Fault, ...] = Field((), description="fault rates of your own, instead of fit")
    fit_factor: Annotated[float, number(0, 1e6)] = Field(1.0, description="times all rates")
    ecc: Annotated[str, choice(*ECCS)] = Field("secded", description="what it corrects")
    scrub: DurationOrNever = Field(86_400_000_000_000, description="sweep that clears transients; 24 h")
    years: Annotated[float, number(0.001, 100)] = Field(7.0, description="of 8760 h")
    transient: Flag = Field(True, description="false: no transient faults")
    permanent: Flag = Field(True, description="false: no permanent faults")
    trials: Annotated[int, whole(1, 10**12)] = Field(100_000_000, description="DIMMs of hwsim faults")
    on_die: Flag | None = Field(None, description="SEC of (136,128) in the chip; default: DDR5 has it")
    mirror: Flag = Field(False, description="machines only: another channel holds every line too")
    frailty: Annotated[float, number(0, 5)] = Field(
        1.0, description="machines only: log standard deviation of a machine's factor on all rates"
    )
    intermittent: Share = Field(0.0, description="machines only: share of the permanent that comes and goes")
    on: PositiveDuration = Field(3_600_000_000_000, description="mean window of an intermittent fault; 1 h")
    off: PositiveDuration = Field(86_400_000_000_000, description="mean time between windows; 24 h")
    show: Share = Field(
        0.001,
        description="machines only: median chance that a read of a faulty line meets wrong bits; 0.1 %",
    )
    show_sigma: Annotated[float, number(0, 5)] = Field(2.4, description="its log standard deviation")
    max_lines: Annotated[int, whole(1, 100_000)] = Field(
        512, description="machines only: at most so many lines of a fault go bad"
    )
    row_sparing: Annotated[int, whole(1, 1_000_000_000)] | None = Field(
        None, description="machines only: corrected errors until a spare row takes over; default: never"
    )
    ppr: Flag = Field(False, description="machines only: faults within a row are repaired at each boot")

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
        geometry = self._geometry()
        found = [
            Finding(("dram", keys.get(each.key, "geometry")), "impossible geometry", each.allowed)
            for each in geometry.problems()
        ]
        groups = geometry.bank_groups
        if self.banks is not None and self.banks % groups:
            message = "impossible geometry"
            found.append(
                Finding(("dram", "banks"), message, f"a power of two from {groups} on, in {groups} groups")
            )
        if not found:
            found += self._ecc_findings(geometry)
        if self.mirror and geometry.channels < 2:
            found.append(
                Finding(("dram", "mirror"), "there is one channel", "a geometry with two or more channels")
            )
        faults = self.to_model().faults_per_dimm
        if not found and faults > MAX_FAULTS_PER_DIMM:
            message = f"{faults:.3g} faults a DIMM over {self.years:g} years"
            found.append(
                Finding(("dram", "fit_factor"), message, f"rates of up to {MAX_FAULTS_PER_DIMM} a DIMM")
            )
        if self.ecc == "sddc" and any(each.ue_share is None for each in self._rates()):
            found.append(
                Finding(
                    ("dram", "ecc"),
                    "sddc needs the P(UE | mode) of every fault",
                    'fit = "alibaba", or ue_share',
                )
            )
        return found

    def _ecc_findings(self, geometry: DramGeometry) -> list[Finding]:
        """A code needs check bits, and one that corrects a chip two check symbols of eight bits."""
        found = []
        if self.ecc != "none" and geometry.ecc_bits_per_beat == 0:
            found.append(Finding(("dram", "ecc"), "these chips hold no check bits", '"none", or more chips'))
        elif self.ecc in ("chipkill", "sddc") and (
            geometry.chip_width_bits != 4 or geometry.ecc_chips_per_rank < 2
        ):
            found.append(
                Finding(("dram", "ecc"), "corrects x4 chips, two of them for check symbols", "width = 4")
            )
        return found

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
        return DramSpec(
            geometry=self.geometry,
            own=tuple(sorted(own.items())),
            rates=tuple(
                (
                    rate.mode,
                    rate.transient_fit * keep_transient,
                    rate.permanent_fit * keep_permanent,
                    rate.ue_share,
                )
                for rate in self._rates()
            ),
            ecc=self.ecc,
            on_die=self.has_on_die,
            mirror=self.mirror,
            frailty=self.frailty,
            intermittent=self.intermittent,
            on_ns=self.on,
            off_ns=self.off,
            show=self.show,
            show_sigma=self.show_sigma,
            max_lines=self.max_lines,
            row_sparing=self.row_sparing,
            ppr=self.ppr,
        )

    def faults_per_s(self) -> float:
        """Faults of all DIMMs of the machine in a second."""
        geometry = self._geometry()
        channels = geometry.sockets * geometry.channels
        return sum(
            (transient + permanent) * (channels if mode == "channel" else geometry.total_chips) / _FIT_SECONDS
            for mode, transient, permanent, _ in self.to_spec().rates
        )
