"""The verbs of a script as data: what each step does and the arguments it takes; nothing here runs.

The checks at load time, the JSON Schema and the reference for users (docs/verbs.md) are made from it, and
steps get their defaults from it.  The functions that play the verbs stand in the files beside this one, in
their tables ``PLAYS``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from hwsim.kernel.frames import MAX_ORDER
from hwsim.memory.kinds import POOLS, REGIONS, SHARED_BY_DEFAULT
from hwsim.spec import DEFAULT_FD, MAX_CPUS, Arguments
from hwsim.units import LINES_PER_PAGE, MAX_PFN

SYSCTLS: Final = (
    "vm.memory_failure_early_kill",
    "vm.memory_failure_recovery",
    "vm.dirty_expire_centisecs",
    "vm.dirty_writeback_centisecs",
)
PAGE_FLAGS: Final = (
    "locked",
    "error",
    "uptodate",
    "dirty",
    "lru",
    "slab",
    "writeback",
    "buddy",
    "compound",
    "head",
    "tail",
    "swapcache",
    "swapbacked",
    "unevictable",
    "mlocked",
    "reserved",
    "private",
    "hwpoison",
)
N_UNMAP_TRIES: Final = 5  # mm/memory-failure.c: as often memory_failure() tries to unmap a page


@dataclass(frozen=True, slots=True)
class ArgKind:
    """A kind of argument: what it names, and the words for it or the range if it is a whole number."""

    doc: str
    low: int = 0
    high: int | None = None  # None: it is no number
    words: tuple[str, ...] = ()


ARG_KINDS: Final[dict[str, ArgKind]] = {
    "page": ArgKind("a page"),
    "task": ArgKind("a task"),
    "region": ArgKind("a region of the step's task"),
    "file": ArgKind("a `[[file]]`"),
    "fd": ArgKind("a descriptor"),
    "alloc": ArgKind("a block that `alloc` has named"),
    "new_region": ArgKind("a new name"),
    "new_alloc": ArgKind("a new name"),
    "choice": ArgKind("a word"),
    "bool": ArgKind("true or false"),
    "count": ArgKind("", 1, MAX_PFN),
    "index": ArgKind("", 0, MAX_PFN - 1),
    "line": ArgKind("", 0, LINES_PER_PAGE - 1),
    "cpu": ArgKind("a CPU of the machine", 0, MAX_CPUS - 1),
    "order": ArgKind("", 0, MAX_ORDER),
    "tries": ArgKind("", 0, N_UNMAP_TRIES),
    "int": ArgKind("", -(2**31), 2**31 - 1),
    "size": ArgKind("a size, a multiple of 4 KiB"),
    "flags": ArgKind("a list of page flags", words=PAGE_FLAGS),
    "sysctl": ArgKind("a sysctl", words=SYSCTLS),
    "value": ArgKind("a whole number or a word"),
    "mce_text": ArgKind("a text in the format of mce-inject"),
}


@dataclass(frozen=True, slots=True)
class PageForm:
    """A way to name a page: an example of what stands under its key, and whether an index belongs to it."""

    example: str
    has_index: bool
    doc: str


PAGE_FORMS: Final[dict[str, PageForm]] = {
    "region": PageForm('"task.0/name"', True, "a page of a region, as the task before the slash sees it"),
    "file": PageForm('"name"', True, "a page of a file"),
    "kernel": PageForm('"slab"', True, "a page of a pool, or of a block that `alloc` has named"),
    "free": PageForm("0", False, "a page that is free at the boot"),
    "pfn": PageForm("0", False, "a frame"),
    "address": PageForm('"0x1000"', False, "physical address"),
}


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument.  One that is not required and has no default is absent when it is left out."""

    kind: str  # a key of ARG_KINDS
    doc: str
    required: bool = True
    default: object = None
    choices: tuple[str, ...] = ()  # of kind "choice"


@dataclass(frozen=True, slots=True)
class Verb:
    """What a step does, where that is written (manual page, kernel file; 2.6.30 unless said), arguments."""

    doc: str
    source: str
    args: dict[str, Arg] = field(default_factory=dict)


def _opt(kind: str, doc: str, default: object = None, choices: tuple[str, ...] = ()) -> Arg:
    return Arg(kind, doc, required=False, default=default, choices=choices)


def _choice(doc: str, *choices: str) -> Arg:
    return Arg("choice", doc, choices=choices)


_TASK: Final = Arg("task", 'the task that does it: "postgres.0", a forked child "web.0.3"')
_PAGE: Final = {"page": Arg("page", "the page")}
_FILE: Final = Arg("file", "name of a [[file]]")
_REGION: Final = {"task": _TASK, "region": Arg("region", "name of a region of this task")}
_PAGES: Final = Arg("count", "number of pages")
_RANGE: Final[dict[str, Arg]] = {
    **_REGION,
    "first": Arg("index", "first page of the range, counted from the start of the region"),
    "pages": _PAGES,
}
_TASK_FILE: Final[dict[str, Arg]] = {"task": _TASK, "file": _FILE}
_OPEN_FILE: Final[dict[str, Arg]] = {
    **_TASK_FILE,
    "fd": _opt("fd", "which of the task's descriptors of this file", DEFAULT_FD),
}
_READ_WRITE: Final[dict[str, Arg]] = {
    **_TASK_FILE,
    "index": Arg("index", "the page of the file"),
    "buffer": _opt("page", "the page of the task's memory that the kernel copies to or from"),
}
_SIGNAL: Final[dict[str, Arg]] = {
    "task": _TASK,
    "signal": _opt("choice", "the signal", "SIGBUS", ("SIGBUS",)),
}

GROUPS: Final[dict[str, dict[str, Verb]]] = {
    "Errors, and who meets them": {
        "inject": Verb(
            "Make an error: poison is what software injectors do (memory_failure() is called at once), "
            "line is a bad line that waits to be found.",
            "mm/hwpoison-inject.c of v5",
            {
                **_PAGE,
                "line": _opt("line", "which 64-byte line of the page", 0),
                "how": _opt("choice", "whether poison or a bad line", "poison", ("poison", "line")),
                "permanent": _opt("bool", "a store does not heal it and a reboot brings it back", False),
            },
        ),
        "mce": Verb(
            "Report a machine check for the page now, as the scrubber would.",
            "arch/x86/kernel/cpu/mcheck/mce.c",
            _PAGE,
        ),
        "mce_inject": Verb(
            "Machine checks in the text format of mce-inject, on this machine's CPUs.",
            "mce-inject's input language; do_machine_check(), arch/x86/kernel/cpu/mcheck/mce.c",
            {"text": Arg("mce_text", 'records such as "CPU 0 BANK 8 STATUS UNCORRECTED SRAO 0xc0 ..."')},
        ),
        "scrub": Verb(
            "The patrol scrubber visits this page now.",
            "memory scrubbing, Intel SDM vol. 3B, 15.9.3.1",
            _PAGE,
        ),
        "load": Verb("The task reads the page.", "mm/memory.c", {"task": _TASK, **_PAGE}),
        "store": Verb(
            "The task writes to the page.",
            "mm/memory.c",
            {
                "task": _TASK,
                **_PAGE,
                "full_line": _opt(
                    "bool", "overwrite whole lines without reading them: heals a transient error", False
                ),
                "until": _opt(
                    "choice", "pte: only the dirty bit of the page table entry is set", None, ("pte",)
                ),
            },
        ),
    },
    "Tasks and their address spaces": {
        "fork": Verb(
            "The task forks; the child is named after it with the next free number.",
            "fork(2), kernel/fork.c",
            {"task": _TASK},
        ),
        "exit": Verb("The task exits.", "_exit(2), kernel/exit.c", {"task": _TASK}),
        "mmap": Verb(
            "The task maps a new region.",
            "mmap(2), mm/mmap.c",
            {
                "task": _TASK,
                "name": Arg("new_region", "name of the new region"),
                "kind": _choice("what is mapped", *REGIONS),
                "size": _opt("size", "size; a mapping of a file may leave it out"),
                "file": _opt("file", "kind file only"),
                "shared": _opt("bool", SHARED_BY_DEFAULT),
            },
        ),
        "munmap": Verb("The task unmaps pages of a region.", "munmap(2), mm/mmap.c", _RANGE),
        "mremap": Verb(
            "The task moves pages of a region to another address, as a new region.",
            "mremap(2), mm/mremap.c",
            {**_RANGE, "to": Arg("new_region", "name of the new region")},
        ),
        "mprotect": Verb(
            "The task changes write permission.",
            "mprotect(2), mm/mprotect.c",
            {**_RANGE, "write": Arg("bool", "whether the task may write from now on")},
        ),
        "mlock": Verb("The task locks a region in memory.", "mlock(2), mm/mlock.c", _REGION),
        "munlock": Verb("The task unlocks a region.", "mlock(2), mm/mlock.c", _REGION),
        "madvise": Verb(
            "The task advises on pages: they are dropped, removed from their file too (a hole), or poisoned.",
            "madvise(2), mm/madvise.c",
            {**_RANGE, "advice": _choice("what it says of them", "dontneed", "remove", "hwpoison")},
        ),
    },
    "Files": {
        "open": Verb("The task opens the file.", "open(2), fs/open.c", _OPEN_FILE),
        "close": Verb("The task closes the file.", "close(2), fs/open.c", _OPEN_FILE),
        "read": Verb("The task reads a page with read().", "read(2), mm/filemap.c", _READ_WRITE),
        "write": Verb(
            "The task writes a page with write().",
            "write(2), mm/filemap.c",
            {**_READ_WRITE, **_OPEN_FILE, "sync": _opt("bool", "the file is open with O_SYNC", False)},
        ),
        "fsync": Verb("The task calls fsync() on the file.", "fsync(2), fs/sync.c", _OPEN_FILE),
        "fdatasync": Verb("The task calls fdatasync() on the file.", "fdatasync(2), fs/sync.c", _OPEN_FILE),
        "sync_file_range": Verb(
            "The task calls sync_file_range() with waiting on the whole file.",
            "sync_file_range(2), fs/sync.c",
            _OPEN_FILE,
        ),
        "msync": Verb(
            "The task calls msync() on its mapping of the file.", "msync(2), mm/msync.c", _TASK_FILE
        ),
        "sync": Verb("sync(): every dirty file page is written.", "sync(2), fs/sync.c"),
        "evict": Verb(
            "The inode of a file on a disk or NFS that nobody has open or mapped leaves memory.",
            "fs/inode.c",
            {"file": _FILE},
        ),
        "truncate": Verb(
            "The file is cut to a new length.",
            "ftruncate(2), mm/truncate.c",
            {"file": _FILE, "pages": Arg("index", "new length in pages")},
        ),
        "punch": Verb(
            "A hole is punched into the file; where the kernel cannot (all but tmpfs) the answer is ENOSYS.",
            "vmtruncate_range(), mm/memory.c",
            {"file": _FILE, "index": Arg("index", "first page of the hole"), "pages": _PAGES},
        ),
    },
    "The state of one page": {
        "swap_out": Verb(
            "Reclaim puts the page into the swap cache and unmaps it.",
            "shrink_page_list(), mm/vmscan.c",
            _PAGE,
        ),
        "swap_in": Verb(
            "The page is read back from swap.", "read_swap_cache_async(), mm/swap_state.c", _PAGE
        ),
        "start_writeback": Verb(
            "Writeback of the page begins.", "set_page_writeback(), mm/page-writeback.c", _PAGE
        ),
        "end_writeback": Verb("Writeback of the page ends.", "end_page_writeback(), mm/filemap.c", _PAGE),
        "lock_page": Verb("Somebody else takes the page lock.", "lock_page(), mm/filemap.c", _PAGE),
        "unlock_page": Verb("The page lock is released.", "unlock_page(), mm/filemap.c", _PAGE),
        "pin": Verb(
            "Somebody takes a reference (get_user_pages, DMA).", "get_user_pages(), mm/memory.c", _PAGE
        ),
        "unpin": Verb("The reference is dropped.", "put_page(), mm/swap.c", _PAGE),
        "pagevec": Verb(
            "The page sits in the pagevec of a CPU.",
            "lru_cache_add(), mm/swap.c",
            {**_PAGE, "cpu": _opt("cpu", "whose pagevec", 1)},
        ),
        "buffers": Verb(
            "What is attached to the page.",
            "try_to_free_buffers(), fs/buffer.c",
            {
                **_PAGE,
                "state": _choice("idle: they can be dropped; busy: they are in use", "idle", "busy", "none"),
            },
        ),
        "flags": Verb(
            "Set and clear page flags directly, to build a case of the error-state table.",
            "include/linux/page-flags.h",
            {**_PAGE, "set": _opt("flags", "flags to set", ()), "clear": _opt("flags", "flags to clear", ())},
        ),
        "unmap_fails": Verb(
            "The next tries to unmap the page fail.",
            "try_to_unmap(), mm/rmap.c; N_UNMAP_TRIES, mm/memory-failure.c",
            {**_PAGE, "tries": _opt("tries", "how many tries", N_UNMAP_TRIES)},
        ),
    },
    "Kernel memory": {
        "alloc": Verb(
            "The kernel allocates a block of 2**order pages.",
            "alloc_pages(), mm/page_alloc.c",
            {
                "kind": _choice("what the kernel keeps in it", *POOLS),
                "order": _opt("order", "how many pages, as a power of two", 0),
                "name": Arg("new_alloc", "name of the block"),
            },
        ),
        "free": Verb(
            "The kernel frees a block that alloc named.",
            "__free_pages(), mm/page_alloc.c",
            {"name": Arg("alloc", "name of the block")},
        ),
        "free_page": Verb("The kernel frees the page.", "__free_pages(), mm/page_alloc.c", _PAGE),
    },
    "Settings": {
        "mask": Verb("The task blocks a signal.", "sigprocmask(2), kernel/signal.c", _SIGNAL),
        "unmask": Verb("The task unblocks a signal.", "sigprocmask(2), kernel/signal.c", _SIGNAL),
        "sysctl": Verb(
            "Write a sysctl; the kernel refuses a value out of range.",
            "kernel/sysctl.c, mm/page-writeback.c",
            {"name": Arg("sysctl", "which sysctl"), "value": Arg("int", "what is written")},
        ),
        "prctl": Verb(
            "The task calls prctl(); a kernel without the option answers EINVAL.",
            "prctl(2), kernel/sys.c of 2.6.32",
            {
                "task": _TASK,
                "option": _choice("to set when it is to be killed, or ask", "PR_MCE_KILL", "PR_MCE_KILL_GET"),
                "value": _opt("value", "of PR_MCE_KILL: early, late or default", 0),
            },
        ),
        "reboot": Verb("The machine reboots.", "reboot(2)"),
    },
}
VERBS: Final[dict[str, Verb]] = {name: verb for group in GROUPS.values() for name, verb in group.items()}


def with_defaults(verb: str, given: Arguments) -> Arguments:
    """The arguments of a step, and what stands for those that it leaves out; for some nothing does."""
    left_out = {key: arg for key, arg in VERBS[verb].args.items() if key not in given}
    return given | {key: arg.default for key, arg in left_out.items() if arg.default is not None}


def page_forms() -> list[str]:
    """Every way to name a page, as it is written in a scenario."""
    indices = {key: ", index = 0" if form.has_index else "" for key, form in PAGE_FORMS.items()}
    return [f"{{ {key} = {form.example}{indices[key]} }}" for key, form in PAGE_FORMS.items()]
