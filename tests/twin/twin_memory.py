"""The memory of the slow twin: frames, what stands behind mappings, page tables, processes."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwsim.spec import RegionSpec, TaskSpec


@dataclass
class TwinError:
    """What became of one error; the names are those of the model's records."""

    onset_ns: int
    pfn: int
    line: int
    permanent: bool
    kind: str
    found: str = "none"
    found_ns: int | None = None
    contained_ns: int | None = None
    row: int = 0
    outcome: str = ""
    mappers: int = 0
    end: str = ""
    late_ns: list[int] = field(default_factory=list)  # touches of the entries that replaced the page
    data_lost: bool = False
    collected: tuple[int, int] = (0, 0)  # killed early, and how many of them did not map the page
    lost_ns: int | None = None  # a write to a file was lost
    writer: Process | None = None
    told: list[tuple[int, str]] = field(default_factory=list)  # when, and in which role


@dataclass(eq=False)
class Frame:
    """One page frame.  ``bad`` maps a bad line to its error; ``maps`` are the VMAs that map it."""

    kind: str
    used: bool = False
    dirty: bool = False
    poisoned: bool = False
    bad: dict[int, TwinError] = field(default_factory=dict)
    story: TwinError | None = None  # the error here that is not healed
    maps: list[Mapping] = field(default_factory=list)
    writer: Process | None = None  # who stored last

    def unmap(self, page: int) -> None:
        """Nobody has it in a page table any more; a touch faults again."""
        for mapping in self.maps:
            mapping.table[page] = None
        self.maps = []

    @property
    def kind_now(self) -> str:
        return self.kind if self.used else "free"

    def overwrite(self, lines: list[int]) -> None:
        """Whole lines are written without being read: what is transient is healed."""
        for line in lines:
            error = self.bad.get(line)
            if error is not None and not error.permanent:
                error.end = "healed"
                del self.bad[line]
                self.story = None


@dataclass(eq=False)
class Backing:
    """What stands behind mappings: the anonymous memory of a fork family, an shm segment or a file.

    ``frames[i]`` are the frames meant for page i; ``cache[i]`` is the page cache (shm and files), of
    anonymous memory the frame taken last; ``stage[i]`` the page's place in its round through swap;
    ``lost[i]`` the error that took a segment's page while it was in the swap cache.  ``dirtied_ns`` of a file
    is the time of the first store since it was written out.
    """

    kind: str
    frames: list[list[Frame]]
    cache: dict[int, Frame] = field(default_factory=dict)
    mappings: list[Mapping] = field(default_factory=list)
    stage: dict[int, int] = field(default_factory=dict)
    lost: dict[int, TwinError] = field(default_factory=dict)
    dirtied_ns: int | None = None

    def store(self, frame: Frame, now_ns: int) -> None:
        """Somebody stores to the page in this frame."""
        frame.dirty = True
        if self.dirtied_ns is None:
            self.dirtied_ns = now_ns

    def allocate(self, page: int) -> Frame:
        """A free frame, cleared (or copied to, or read into): that overwrites every line."""
        free = [frame for frame in self.frames[page] if not frame.used and not frame.poisoned]
        frame = free[0] if free else Frame(self.kind)
        frame.used, frame.dirty = True, False
        frame.overwrite(list(frame.bad))
        return frame

    def fault(self, page: int) -> Frame:
        """The frame a page fault maps: a new one for anonymous memory, else the cached one."""
        if self.kind == "anon" or page not in self.cache:
            self.cache[page] = self.allocate(page)
        return self.cache[page]


@dataclass(eq=False)
class Mapping:
    """A VMA with its page table: per page None, a frame, or the error whose poison entry stands there."""

    process: Process
    spec: RegionSpec
    backing: Backing
    table: list[Frame | TwinError | None]


@dataclass(eq=False)
class Process:
    """One place for a process; ``life`` counts its lives, so that old accesses are recognised."""

    group: Group
    parent: Process | None
    private: dict[str, Backing]
    alive: bool = False
    life: int = 0
    since_ns: int = 0
    mappings: list[Mapping] = field(default_factory=list)


@dataclass(eq=False)
class Group:
    """The processes of one task table and the memory they share."""

    spec: TaskSpec
    shared: dict[str, Backing] = field(default_factory=dict)
    members: list[Process] = field(default_factory=list)
