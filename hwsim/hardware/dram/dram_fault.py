"""DRAM faults of one machine: what comes, where it lies, what the ECC makes of it, which lines it ruins.

A fault is a range of addresses of one chip (Sridharan and Liberty, SC'12; FaultSim: Nair, Roberts, Qureshi,
ACM TACO 12(4), 2016).  What its lines suffer is asked of the real codes with one pattern of wrong bits a
fault: each bit that the fault can reach is wrong with probability one half, as stuck cells meet random data.
A word or a column is one beat of a burst, wider faults are all of them.  With on-die ECC the pattern is
first decoded in the chip.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.hardware.dram.address_map import AddressMap, CoordinateRange, interleaved
from hwsim.hardware.dram.address_map_presets import address_map
from hwsim.hardware.dram.dimms import COORDINATES, GEOMETRIES
from hwsim.hardware.dram.ecc import CE, CODES, NONE, ON_DIE_SEC, OUTCOMES, SILENT, UE, residual
from hwsim.hardware.dram.ecc_line import line_outcomes
from hwsim.hardware.dram.fault_model import columns_per_word
from hwsim.hardware.dram.fit_tables import FIXED
from hwsim.record import FaultMode, Permanence
from hwsim.spec import DramSpec
from hwsim.units import LINE_SHIFT, LINES_PER_PAGE, PAGE_SHIFT

_DIMM = ("socket", "channel", "subchannel", "dimm")

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DramFault:
    """A fault: FaultMode and Permanence of :mod:`hwsim.record`, its lines, its chip, and its outcome.

    ``chip`` None: not of one chip (channel).  ``bit``: which data pin of the chip, of a bit fault.
    ``outcome``: what a line suffers from this fault alone, one of :data:`~hwsim.hardware.dram.ecc.OUTCOMES`.
    Of mirrored memory ``copy`` says in which of the two, and ``in_copy`` what the line suffers there.
    """

    mode: str
    permanence: str
    where: CoordinateRange
    chip: int | None
    bit: int | None
    outcome: str
    copy: int = 0
    in_copy: str = ""


@lru_cache(maxsize=8)
def dimms_of(spec: DramSpec) -> Dimms:
    """The DIMMs of a specification; built once, since the map takes a moment."""
    return Dimms(spec)


class Dimms:
    """All DIMMs of one machine.  Life: built from the specification -> asked for faults and their lines.

    Mirrored, a channel and its neighbour hold the same lines: the map knows the pairs, as half the channels.
    """

    def __init__(self, spec: DramSpec) -> None:
        self.spec = spec
        preset = GEOMETRIES[spec.geometry]
        own: dict[str, Any] = dict(spec.own)
        self.fitted = replace(preset, **own).checked()
        copies = 2 if spec.mirror else 1
        self.geometry = replace(self.fitted, channels=self.fitted.channels // copies).checked()
        as_measured = not spec.own and not spec.mirror
        self.map: AddressMap = address_map(spec.geometry) if as_measured else interleaved(self.geometry)
        self._columns_per_word = columns_per_word(spec.ecc, self.fitted.chip_width_bits)
        channels = self.fitted.sockets * self.fitted.channels
        kinds = [
            (
                mode,
                permanent,
                fit * (channels if mode == FaultMode.CHANNEL else self.fitted.total_chips),
                ue_share,
            )
            for mode, transient_fit, permanent_fit, ue_share in spec.rates
            for permanent, fit in ((False, transient_fit), (True, permanent_fit))
            if fit > 0.0
        ]
        self._kinds = kinds
        self._ends = list(accumulate(kind[2] for kind in kinds))
        counts = {**self.fitted.coordinate_counts, "column": self.fitted.columns}
        chip = self.geometry.chips_per_rank, self.geometry.chip_width_bits
        self._counts = np.array([*(counts[name] for name in COORDINATES), *chip])

    @property
    def fit(self) -> float:
        """FIT of all of them together."""
        return self._ends[-1] if self._kinds else 0.0

    def draw(self, chance: np.random.Generator) -> DramFault:
        """A fault: kind by its rate, DIMM, chip and place uniform."""
        at = bisect_right(self._ends, chance.random() * self._ends[-1])
        mode, permanent, _, ue_share = self._kinds[at]
        permanence = Permanence.PERMANENT if permanent else Permanence.TRANSIENT
        if permanent and chance.random() < self.spec.intermittent:
            permanence = Permanence.INTERMITTENT
        *numbers, chip, bit = chance.integers(0, self._counts).tolist()
        place = dict(zip(COORDINATES, numbers, strict=True))
        copy = 0
        if self.spec.mirror:
            place["channel"], copy = divmod(place["channel"], 2)
        fixed = {*_DIMM, *FIXED[mode]} - {"bit"}
        if mode == FaultMode.CHANNEL:
            fixed = {"socket", "channel"}
        if "bank" in fixed:
            fixed.add("bank_group")
        where = CoordinateRange(**{name: place[name] for name in fixed})
        pattern = self._pattern(mode, chip, bit, place["column"], chance)
        found = OUTCOMES[self._alone(mode, ue_share, pattern, chance.random())]
        mirrored = self.spec.mirror and found == OUTCOMES[UE]
        of_chip = None if mode == FaultMode.CHANNEL else chip
        of_bit = bit if mode == FaultMode.BIT else None
        outcome = OUTCOMES[CE] if mirrored else found  # the other copy is read instead
        return DramFault(mode, permanence, where, of_chip, of_bit, outcome, copy, found)

    def _alone(self, mode: str, ue_share: float | None, pattern: npt.NDArray[np.uint8], u: float) -> int:
        """What a line of the fault suffers in its copy when no other fault is there."""
        ecc = self.spec.ecc
        if not pattern.any():
            return NONE  # the chip has corrected it by itself
        if ecc == "none":
            return SILENT
        if ecc == "sddc" and ue_share is not None:
            return UE if u < ue_share else CE
        if mode == FaultMode.CHANNEL:
            return UE
        if ecc in ("chipkill", "sddc"):
            return CE  # ideal: whatever one chip does
        return int(line_outcomes(CODES["secded"], self._as_words_of_72(pattern)))

    def _pattern(
        self, mode: str, chip: int, bit: int, column: int, chance: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """Wrong bits of a line (beats, chips, width) as they leave the chips."""
        geometry = self.fitted
        beats, width = geometry.burst_length, geometry.chip_width_bits
        line = np.zeros((beats, geometry.chips_per_rank, width), dtype=np.uint8)
        beat = column % beats
        wrong = chance.integers(0, 2, (beats, width), dtype=np.uint8)
        if mode in (FaultMode.WORD, FaultMode.COLUMN):
            wrong[np.arange(beats) != beat] = 0
        if mode == FaultMode.BIT or not wrong.any():
            wrong[...] = 0
            wrong[beat, bit] = 1
        line[:, chip, :] = _after_on_die(wrong) if self.spec.on_die and mode != FaultMode.CHANNEL else wrong
        return line

    def _as_words_of_72(self, line: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Beats of fewer bits are shortened code words: the bits that are not there are never wrong."""
        beats = line.shape[0]
        words = np.zeros((beats, CODES["secded"].n), dtype=np.uint8)
        bits = line.reshape(beats, -1)
        words[:, : bits.shape[1]] = bits
        return words.reshape(beats, 18, 4)

    def meet(self, one: DramFault, other: DramFault) -> CoordinateRange | None:
        """Where two faults together are more than the ECC corrects, or None.

        SECDED: two wrong bits of a word.  Chips that correct a symbol: two chips in one code word.  Of
        mirrored memory both copies of a line have to be lost, each to a fault of its own.
        """
        if self.spec.ecc == "none" or not self._in_words(one.where).meets(self._in_words(other.where)):
            return None
        if self.spec.mirror:
            both_lost = one.in_copy == other.in_copy == OUTCOMES[UE] and one.copy != other.copy
        else:
            hidden = self.spec.on_die and FaultMode.BIT in (one.mode, other.mode)
            alike = one.chip == other.chip and (self.spec.ecc != "secded" or one.bit == other.bit)
            both_lost = not hidden and not alike
        return CoordinateRange(**{**one.where.fixed(), **other.where.fixed()}) if both_lost else None

    def _in_words(self, where: CoordinateRange) -> CoordinateRange:
        """The range with its column as the number of a code word; mirrored, of a whole line."""
        if where.column is None:
            return where
        columns = self.fitted.burst_length if self.spec.mirror else self._columns_per_word
        return replace(where, column=where.column // columns)

    def lines(self, where: CoordinateRange, limit: int, chance: np.random.Generator) -> Int64Array:
        """Physical addresses of lines of a range, ascending: all, or ``limit`` of them at random."""
        if self.map.line_count(where) <= limit:
            return self.map.lines_of(where, limit)
        counts, fixed = self.geometry.coordinate_counts, where.fixed()
        free = {name: chance.integers(0, count, limit) for name, count in counts.items() if name not in fixed}
        return np.unique(self.map.lines_at(where, free))

    def pages(
        self, where: CoordinateRange, limit: int | None, chance: np.random.Generator
    ) -> tuple[Int64Array, npt.NDArray[np.uint64]]:
        """The same by page frame, ascending: its number, and a bit for each of its lines; None: all lines."""
        if limit is None or self.map.line_count(where) <= limit:
            return self.map.pages_of(where)
        addresses = self.lines(where, limit, chance)
        pfns, lines = addresses >> PAGE_SHIFT, addresses >> LINE_SHIFT & LINES_PER_PAGE - 1
        firsts = np.flatnonzero(np.diff(pfns, prepend=-1))
        return pfns[firsts], np.bitwise_or.reduceat(np.uint64(1) << lines.astype(np.uint64), firsts)

    def number(self, fault: DramFault) -> int | None:
        """Which DIMM of the machine, counted by socket, channel and slot; None for a channel's fault."""
        where, fitted = fault.where, self.fitted
        if where.socket is None or where.channel is None or where.dimm is None:
            return None
        channel = where.channel * 2 + fault.copy if self.spec.mirror else where.channel
        return (where.socket * fitted.channels + channel) * fitted.dimms + where.dimm

    def bank(self, where: CoordinateRange) -> int | None:
        """Bank group and bank as one number."""
        if where.bank_group is None or where.bank is None:
            return None
        return where.bank_group * self.geometry.banks + where.bank


def is_within_a_row(fault: DramFault) -> bool:
    """Whether one spare row takes all of it."""
    return fault.where.row is not None


def _after_on_die(wrong: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What leaves a chip with SEC (136,128) when a burst of it has these bits wrong (beats, width)."""
    word = np.zeros(ON_DIE_SEC.n, dtype=np.uint8)
    word[: wrong.size] = wrong.reshape(-1)
    return residual(ON_DIE_SEC, word)[: wrong.size].reshape(wrong.shape)
