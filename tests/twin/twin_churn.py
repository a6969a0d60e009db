"""What the slow twin's kernel does to memory without any access: swap, reclaim, truncation; and who is told.

Each page of a swapped region goes round by itself, one exponential stay after the other, whether or not
anything is in its frame.  Each page of a file is reclaimed at its own rate; each file is cut as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.spec import FileSpec, SwapCycle
from tests.twin.twin_memory import Backing, Frame, Process, TwinError

if TYPE_CHECKING:
    from tests.twin.twin import Twin

PLAIN, DIRTY_MAPPED, DIRTY_UNMAPPED, CLEAN_UNMAPPED, CLEAN_MAPPED = range(5)
OUT = (DIRTY_UNMAPPED, CLEAN_UNMAPPED)


def swap(twin: Twin, backing: Backing, cycle: SwapCycle) -> None:
    """Start the rounds of all pages, each somewhere in its round."""
    parts = (cycle.dirty_mapped, cycle.dirty_unmapped, cycle.clean_unmapped, cycle.clean_mapped)
    stay_ns = [part * cycle.period_ns for part in (1.0 - sum(parts), *parts)]

    def wait(page: int) -> None:
        mean_ns = stay_ns[backing.stage[page]]
        twin.at(twin.now + (int(twin.rng.expovariate(1.0 / mean_ns)) + 1 if mean_ns else 0), step, page)

    def step(page: int) -> None:
        stage = backing.stage[page] = (backing.stage[page] + 1) % 5
        twin.accesses += 1
        frame = backing.cache.get(page)
        if frame is not None and frame.used:
            _swapped(twin, frame, stage)
        wait(page)

    for page in range(len(backing.frames)):
        backing.stage[page] = twin.rng.choices(range(5), stay_ns)[0]
        wait(page)


def _swapped(twin: Twin, frame: Frame, stage: int) -> None:
    if stage == CLEAN_UNMAPPED:
        read_by_device(twin, frame)
    elif stage == CLEAN_MAPPED:  # swap-in fills the frame
        frame.overwrite(list(frame.bad))
        frame.dirty = frame.dirty or frame.kind == "shm"
    elif stage == DIRTY_UNMAPPED:
        frame.dirty = True


def read_by_device(twin: Twin, frame: Frame) -> None:
    """DMA reads every line; UCNA: logged, nothing else."""
    for error in frame.bad.values():
        twin.found(frame, error, "device_read")


def turnover(twin: Twin, file: FileSpec, backing: Backing) -> None:
    """Single pages are reclaimed, written back before if dirty, and read in again."""
    if file.turnover_per_s <= 0.0:
        return

    def step(page: int) -> None:
        twin.accesses += 1
        frame = backing.cache.get(page)
        if frame is not None:
            if frame.dirty:
                read_by_device(twin, frame)
            frame.dirty = False
            frame.overwrite(list(frame.bad))
            frame.unmap(page)
        twin.at(twin.now + twin.wait_ns(file.turnover_per_s), step, page)

    for page in range(file.pages):
        twin.at(twin.now + twin.wait_ns(file.turnover_per_s), step, page)


def truncation(twin: Twin, file: FileSpec, backing: Backing) -> None:
    """The file is cut to nothing and written anew; a frame with a bad line is free from then on."""
    if file.truncate_per_s <= 0.0:
        return

    def step() -> None:
        twin.accesses += 1
        for page in range(file.pages):
            for mapping in backing.mappings:  # poison entries go with the page
                if page < mapping.spec.pages and not isinstance(mapping.table[page], Frame):
                    mapping.table[page] = None
            frame = backing.cache.pop(page, None)
            if frame is None:
                continue
            frame.unmap(page)
            frame.used = False
            if frame.story is not None:  # it goes to the free lists, and the new page is elsewhere
                backing.frames[page].remove(frame)
            backing.store(backing.fault(page), twin.now)
        twin.at(twin.now + twin.wait_ns(file.truncate_per_s), step)

    twin.at(twin.now + twin.wait_ns(file.truncate_per_s), step)


class Errors:
    """The AS_EIO bits: one for each file, and the lost writes that wait for somebody to ask."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self.waiting: dict[int, list[TwinError]] = {}  # by file; the key is there while its bit is set

    def lost(self, backing: Backing, error: TwinError, writer: Process | None) -> None:
        """A dirty page of the file was dropped."""
        error.lost_ns, error.writer = self.twin.now, writer
        self.waiting.setdefault(id(backing), []).append(error)

    def fsync(self, backing: Backing, by: Process) -> None:
        """Whoever asks first is told of all that was lost, and takes the bit away."""
        for error in self.waiting.pop(id(backing), []):
            self.tell(error, by, session=True)

    def tell(self, error: TwinError, by: Process, *, session: bool = False) -> None:
        """The process learns of the loss, as the one that wrote or as another: by a call, or by SIGBUS."""
        assert error.lost_ns is not None
        if session and by.since_ns > error.lost_ns:
            role = "later_session"
        else:
            role = "writer" if by is error.writer else "bystander"
        error.told.append((self.twin.now, role))
