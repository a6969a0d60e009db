"""DRAM faults of one machine: what comes, where it lies, what the ECC makes of it, which lines it ruins.

A fault is a range of addresses of one chip (Sridharan and Liberty, SC'12; FaultSim: Nair, Roberts, Qureshi,
ACM TACO 12(4), 2016).  What its lines suffer is asked of the real codes with one pattern of wrong bits a
fault: each bit that the chip drives is wrong with probability one half, as stuck cells meet random data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.hardware.address_map import AddressMap, CoordinateRange, Coordinates, interleaved
from hwsim.hardware.address_map_presets import address_map
from hwsim.hardware.dram import COORDINATES, GEOMETRIES
from hwsim.hardware.ecc import CE, CODES, NONE, OUTCOMES, SILENT, UE
from hwsim.hardware.ecc_line import line_outcomes
from hwsim.hardware.fit_tables import FIXED
from hwsim.spec import DramSpec

_DIMM = ("socket", "channel", "subchannel", "dimm")

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DramFault:
    """A fault: mode, permanence (transient, intermittent, permanent), its lines, its chip, and its outcome.

    ``chip`` None: not of one chip (channel).  ``bit``: which data pin of the chip, of a bit fault.
    ``outcome``: what a line suffers from this fault alone, one of :data:`~hwsim.hardware.ecc.OUTCOMES`.
    """

    mode: str
    permanence: str
    where: CoordinateRange
    chip: int | None
    bit: int | None
    outcome: str


@lru_cache(maxsize=8)
def dimms_of(spec: DramSpec) -> Dimms:
    """The DIMMs of a specification; built once, since the map takes a moment."""
    return Dimms(spec)


class Dimms:
    """All DIMMs of one machine.  Life: built from the specification -> asked for faults and their lines."""

    def __init__(self, spec: DramSpec) -> None:
        self.spec = spec
        preset = GEOMETRIES[spec.geometry]
        own: dict[str, Any] = dict(spec.own)
        self.geometry = replace(preset, **own).checked()
        self.map: AddressMap = address_map(spec.geometry) if not spec.own else interleaved(self.geometry)
        kinds = [
            (mode, permanent, fit, ue_share)
            for mode, transient_fit, permanent_fit, ue_share in spec.rates
            for permanent, fit in ((False, transient_fit), (True, permanent_fit))
            if fit > 0.0
        ]
        self._kinds = kinds
        self._ends = np.cumsum([kind[2] for kind in kinds])

    def draw(self, chance: np.random.Generator) -> DramFault:
        """A fault: kind by its rate, DIMM, chip and place uniform."""
        at = np.searchsorted(self._ends, chance.random() * self._ends[-1], side="right")
        mode, permanent, _, ue_share = self._kinds[int(at)]
        permanence = "permanent" if permanent else "transient"
        if permanent and chance.random() < self.spec.intermittent:
            permanence = "intermittent"
        counts = {**self.geometry.coordinate_counts, "column": self.geometry.columns}
        place = {name: int(chance.integers(0, counts[name])) for name in COORDINATES}
        fixed = {*_DIMM, *FIXED[mode]} - {"bit"}
        if mode == "channel":
            fixed = {"socket", "channel"}
        if "bank" in fixed:
            fixed.add("bank_group")
        where = CoordinateRange(**{name: place[name] for name in fixed})
        chip = int(chance.integers(0, self.geometry.chips_per_rank))
        bit = int(chance.integers(0, self.geometry.chip_width_bits))
        pattern = self._pattern(mode, chip, bit, chance)
        outcome = self._alone(mode, ue_share or 0.0, pattern, chance.random())
        is_bit = mode == "bit"
        of_chip = None if mode == "channel" else chip
        return DramFault(mode, permanence, where, of_chip, bit if is_bit else None, outcome)

    def _alone(self, mode: str, ue_share: float, pattern: npt.NDArray[np.uint8], u: float) -> str:
        """What a line of the fault suffers when no other fault is there."""
        found = self._by_code(mode, ue_share, pattern, u)
        if self.spec.mirror and found == UE:
            return OUTCOMES[CE]  # the other channel holds the line too
        return OUTCOMES[found]

    def _by_code(self, mode: str, ue_share: float, pattern: npt.NDArray[np.uint8], u: float) -> int:
        ecc = self.spec.ecc
        if self.spec.on_die and mode == "bit":
            return NONE  # (136,128) of the chip corrects it before it leaves the chip
        if ecc == "none":
            return SILENT
        if mode == "channel":
            return UE
        if ecc == "chipkill":
            return CE  # ideal: whatever one chip does
        if ecc == "sddc":
            return UE if u < ue_share else CE
        return int(line_outcomes(CODES["secded"], pattern))

    def _pattern(self, mode: str, chip: int, bit: int, chance: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Wrong bits of a line (beats, chips, width): one bit, or of the chip any that are not none."""
        geometry = self.geometry
        beats = geometry.burst_length
        line = np.zeros((beats, geometry.chips_per_rank, geometry.chip_width_bits), dtype=np.uint8)
        wrong = chance.integers(0, 2, (beats, geometry.chip_width_bits), dtype=np.uint8)
        if mode == "bit" or not wrong.any():
            line[int(chance.integers(0, beats)), chip, bit] = 1
        else:
            line[:, chip, :] = wrong
        # A 64-bit word with 8 check bits, also where a sub-channel of DDR5 has 32 and 8 a beat.
        if geometry.chips_per_rank * geometry.chip_width_bits != CODES["secded"].n:
            words = line.reshape(beats, -1)
            line = np.zeros((beats, 18, 4), dtype=np.uint8)
            line.reshape(beats, -1)[:, : words.shape[1]] = words[:, :72]
        return line

    def meet(self, one: DramFault, other: DramFault) -> CoordinateRange | None:
        """Where two faults together are more than the ECC corrects, or None.

        SECDED: two wrong bits of a word.  Chips that correct a symbol: two chips; the ranges meet if a line
        is in both.
        """
        if self.spec.mirror or self.spec.ecc == "none" or not one.where.meets(other.where):
            return None
        if self.spec.on_die and "bit" in (one.mode, other.mode):
            return None
        if one.chip == other.chip and (self.spec.ecc != "secded" or one.bit == other.bit):
            return None
        return CoordinateRange(**{**one.where.fixed(), **other.where.fixed()})

    def lines(self, where: CoordinateRange, limit: int, chance: np.random.Generator) -> Int64Array:
        """Physical addresses of lines of a range, ascending: all, or ``limit`` of them at random."""
        if self.map.line_count(where) <= limit:
            return self.map.lines_of(where, limit)
        counts, fixed = self.geometry.coordinate_counts, where.fixed()
        burst = self.geometry.burst_length
        parts = {
            name: np.full(limit, fixed[name])
            if name in fixed
            else chance.integers(0, counts[name], limit) * (burst if name == "column" else 1)
            for name in COORDINATES
        }
        return np.unique(self.map.encode(Coordinates(**parts)))

    def number(self, where: CoordinateRange) -> int | None:
        """Which DIMM of the machine, counted by socket, channel and slot."""
        geometry = self.geometry
        if where.socket is None or where.channel is None or where.dimm is None:
            return None
        return (where.socket * geometry.channels + where.channel) * geometry.dimms + where.dimm

    def bank(self, where: CoordinateRange) -> int | None:
        """Bank group and bank as one number."""
        if where.bank_group is None or where.bank is None:
            return None
        return where.bank_group * self.geometry.banks + where.bank


def is_within_a_row(fault: DramFault) -> bool:
    """Whether one spare row takes all of it."""
    return fault.where.row is not None
