"""Tasks, their address spaces (mm) and VMAs, as far as memory_failure() sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwsim.kernel.filemap_error import OpenFile
    from hwsim.kernel.mem_map import Region
    from hwsim.kernel.struct_page import AddressSpace, Pte

PAGE_SHIFT = 12


class Vma:
    """A virtual memory area: ``pages`` pages from virtual page ``start``, offset ``pgoff``.

    ``region`` gives the touch rates; ``ptes`` holds only entries that differ from what the
    region's clocks say (pages with a story), by page offset.  ``since_ns`` is when the mapping came
    to be, ``forked_ns`` when it was last write-protected by a fork.
    """

    __slots__ = (
        "alive",
        "anon_vma",
        "file",
        "forked_ns",
        "mapping",
        "mlocked",
        "name",
        "number",
        "pages",
        "pgoff",
        "populated",
        "ptes",
        "region",
        "shared",
        "since_ns",
        "start",
        "task",
        "writable",
    )

    def __init__(
        self,
        task: Task,
        name: str,
        region: Region,
        start: int,
        pages: int,
        *,
        since_ns: int,
        shared: bool = False,
        mapping: AddressSpace | None = None,
        anon_vma: list[Vma] | None = None,
        mlocked: bool = False,
        populated: bool = True,
        pgoff: int = 0,
        file: OpenFile | None = None,
    ) -> None:
        self.task = task
        self.name = name
        self.region = region
        self.start = start
        self.pages = pages
        self.pgoff = pgoff
        self.shared = shared
        self.mapping = mapping
        self.anon_vma = anon_vma
        self.mlocked = mlocked
        self.populated = populated
        self.file = None if file is None else file.get()  # vm_file: what was mapped, open or not
        self.since_ns = since_ns
        self.forked_ns = since_ns
        self.writable = True
        self.alive = True
        self.ptes: dict[int, Pte] = {}
        self.number = 0
        if anon_vma is not None:
            anon_vma.append(self)
        if mapping is not None:
            mapping.vmas.append(self)
            if mapping.host is not None:
                mapping.host.rates_changed()

    def covers(self, pgoff: int) -> bool:
        """Whether the page offset lies in this VMA."""
        return self.pgoff <= pgoff < self.pgoff + self.pages

    def address(self, pgoff: int) -> int:
        """The virtual address in bytes of a page offset inside the VMA."""
        return (self.start + pgoff - self.pgoff) << PAGE_SHIFT

    def pgoff_of(self, address: int) -> int:
        """The page offset of a virtual address in bytes inside the VMA."""
        return (address >> PAGE_SHIFT) - self.start + self.pgoff

    def close(self) -> None:
        """Leave the reverse maps; what the page tables held is dropped with the VMA."""
        self.alive = False
        if self.anon_vma is not None:
            self.anon_vma.remove(self)
        if self.mapping is not None:
            self.mapping.vmas.remove(self)
            if self.mapping.host is not None:
                self.mapping.host.rates_changed()
        if self.file is not None:
            self.file.put()


class Task:
    """A process (thread group leader) with its mm.

    Life: started by the machine, by a fork or by the supervisor; runs; is killed or exits; a
    restart makes a new Task with a new pid.  ``blocked`` and ``ignored`` are its SIGBUS state,
    ``sig_dfl`` says that a forced one has reset it and is fatal, ``pending`` whether a SIGBUS waits (one at
    most: SIGBUS is not queued), ``handler_ends_ns`` until when a handler runs.  ``behaviour`` is whatever
    userspace has registered; the kernel never looks into it.
    """

    __slots__ = (
        "alive",
        "behaviour",
        "blocked",
        "caught",
        "comm",
        "files",
        "handler_ends_ns",
        "ignored",
        "killed",
        "mce_kill",
        "name",
        "next_start",
        "number",
        "offsets",
        "parent",
        "pending",
        "pid",
        "sig_dfl",
        "started_ns",
        "vmas",
        "vmas_made",
    )

    def __init__(
        self, name: str, comm: str, pid: int, number: int, started_ns: int, parent: Task | None = None
    ) -> None:
        self.name = name
        self.comm = comm
        self.pid = pid
        self.number = number
        self.started_ns = started_ns
        self.parent = parent
        self.alive = True
        self.killed = False  # by a signal, its own or another's
        self.vmas: dict[str, Vma] = {}
        self.files: dict[tuple[str, str], OpenFile | None] = {}  # (file, fd) of a script: None is closed
        self.vmas_made = 0  # the number of a VMA that has gone is not given to another
        self.next_start = 0x400  # first virtual page of the next mapping
        self.blocked = False
        self.ignored = False
        self.sig_dfl = False
        self.handler_ends_ns = 0
        self.caught = False  # has a handler for SIGBUS
        self.mce_kill: str = parent.mce_kill if parent is not None else "default"  # PR_MCE_KILL, inherited
        self.pending: Any = None
        self.behaviour: Any = None
        # First page offset of regions that mremap() made; all others start at zero.
        self.offsets: dict[str, int] = dict(parent.offsets) if parent is not None else {}

    @property
    def sigbus_is_due(self) -> bool:
        """Whether a SIGBUS, or the handler of one, comes before the task goes on in user space."""
        return (self.pending is not None and not self.blocked) or self.handler_ends_ns > 0

    def add_vma(self, name: str, region: Region, pages: int, **kwargs: Any) -> Vma:
        """mmap(): a new VMA after the last one."""
        start = kwargs.pop("start", None)
        if start is None:
            start = self.next_start
            self.next_start += pages + 16
        vma = Vma(self, name, region, start, pages, **kwargs)
        vma.number = self.number * 64 + self.vmas_made
        if self.vmas_made >= 64:  # out of the way of the next task's
            vma.number = 1 << 40 | self.number << 20 | self.vmas_made
        self.vmas_made += 1
        self.vmas[name] = vma
        return vma
