"""One machine check as a text has it, and how a mistake in such a text is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

MAX_BYTES = 1 << 20
MAX_CPUS = 8192  # CONFIG_MAXSMP
MAX_PROBLEMS = 20

# Numbers of arch/x86/include/asm/processor.h, names of mcelog's table where it has one.
VENDORS = {
    0: "Intel", 1: "Cyrix", 2: "AMD", 3: "UMC", 5: "Centaur", 7: "Transmeta", 8: "NSC", 9: "Hygon",
    10: "Zhaoxin", 11: "Vortex86", 255: "unknown",
}  # fmt: skip
INTEL = 0


@dataclass(frozen=True)
class Record:
    """One record: the registers of a bank on a CPU, and how it is to be raised.

    ``status``, ``addr``, ``misc``, ``mcgstatus``: the 64-bit registers.  ``rip``: instruction pointer, 0
    where none is given; ``cs``: code segment.  ``exception``: by an exception, or by a poll.  ``context``:
    "random" (whatever the CPU was at), "process" or "irq".  ``hold``: keep it until the next record of the
    file that is not held.  ``cpuid``: leaf 1, EAX, 0 where it is not given.  ``ser``: whether MCGCAP has
    MCG_SER_P, None where mcelog has not printed it.

    Of a record that a kernel or mcelog printed also: ``tsc`` (None: its line is missing), ``time_s`` (0:
    missing) and ``found_by``, how the kernel came by it: "exception", "CMCI", "timer", "boot" (the
    first poll after boot) or, where the record leaves it open, "CMCI or timer", "boot or timer" or "poll".
    """

    line: int
    cpu: int
    bank: int = 0
    status: int = 0
    mcgstatus: int = 0
    addr: int = 0
    misc: int = 0
    cs: int = 0
    rip: int = 0
    context: str = "random"
    exception: bool = False
    hold: bool = False
    nobroadcast: bool = False
    irqbroadcast: bool = False
    nmibroadcast: bool = False
    cpuid: int = field(default=0, compare=False)
    ser: bool | None = field(default=None, compare=False)
    tsc: int | None = None
    time_s: int = 0
    found_by: str = ""


class Problem(NamedTuple):
    """A mistake: where (line 0: the file as a whole), and what is wrong."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class MceTextError(Exception):
    """The text has mistakes: ``problems`` has them all, at most :data:`MAX_PROBLEMS` of one file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Problems:
    """The mistakes of one file as they are met; of too many only the number."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._found: list[Problem] = []
        self._more = 0

    def add(self, line: int, text: str) -> None:
        if len(self._found) < MAX_PROBLEMS:
            self._found.append(Problem(self._file, line, text))
        else:
            self._more += 1

    def check(self, last_line: int) -> None:
        """Raises :class:`MceTextError` if there are any."""
        if self._more:
            self._found.append(Problem(self._file, last_line, f"and {self._more} more mistakes"))
        if self._found:
            raise MceTextError(self._found)


def other_vendor(vendor: int) -> str | None:
    """Why a record of this CPU cannot be graded; None: it can."""
    if vendor == INTEL:
        return None
    name = VENDORS.get(vendor, "a vendor that Linux does not number")
    return f"PROCESSOR {vendor} is {name}: only Intel's rules of machine checks are built"
