"""The verbs of a script as data: what each step does and the arguments it takes.

The check at load time, the JSON Schema and the documentation are all made from :data:`VERBS`.

A page is named by a table with one of these forms: ``{ region = "postgres.0/shm", index = 7 }``
(page 7 of that region as this task sees it; a forked child is ``web.0.3``), ``{ file = "tables",
index = 3 }``, ``{ kernel = "slab", index = 0 }`` (a pool, or an allocation a step named),
``{ free = 0 }``, ``{ pfn = 291 }`` or ``{ address = "0x123000" }`` (a physical address).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from hwsim.memory.kinds import POOLS, REGIONS

SYSCTLS: Final[dict[str, tuple[int, int]]] = {
    "vm.memory_failure_early_kill": (0, 1),
    "vm.memory_failure_recovery": (0, 1),
    "vm.dirty_expire_centisecs": (0, 1_000_000),
    "vm.dirty_writeback_centisecs": (0, 1_000_000),
}
SHARED_BY_DEFAULT: Final = (
    f"default: true for {' and '.join(name for name, use in REGIONS.items() if use.shared)}, "
    f"false for {' and '.join(name for name, use in REGIONS.items() if not use.shared)}"
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
MAX_PFN: Final = 1 << 40
MAX_ORDER: Final = 10  # the largest block of the page allocator is 2**10 pages


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument.  ``kind`` says how it is checked:

    page, task, region (of the step's task), file, new_region, new_alloc, fd, alloc, count (>= 1),
    index (>= 0), line (0..63), cpu, order, tries, int, bool, choice, flags, sysctl, value (int or text),
    mce_text.
    """

    kind: str
    required: bool = True
    default: Any = None
    choices: tuple[str, ...] = ()
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Verb:
    """What a step does and its arguments."""

    doc: str
    args: dict[str, Arg] = field(default_factory=dict)


def _opt(kind: str, default: Any = None, choices: tuple[str, ...] = (), doc: str = "") -> Arg:
    return Arg(kind, required=False, default=default, choices=choices, doc=doc)


_TASK: Final = Arg("task", doc='the task that does it: "postgres.0", a forked child "web.0.3"')
_PAGE: Final = Arg("page", doc="the page")
_FILE: Final = Arg("file", doc="name of a [[file]]")
_REGION: Final = Arg("region", doc="name of a region of this task")
_FIRST: Final = Arg("index", doc="first page of the range, counted from the start of the region")
_PAGES: Final = Arg("count", doc="number of pages")
_RANGE: Final[dict[str, Arg]] = {"task": _TASK, "region": _REGION, "first": _FIRST, "pages": _PAGES}
_TASK_FILE: Final[dict[str, Arg]] = {"task": _TASK, "file": _FILE}
_OPEN_FILE: Final[dict[str, Arg]] = {
    **_TASK_FILE,
    "fd": _opt("fd", "fd", doc="which of the task's descriptors of this file"),
}
_READ_WRITE: Final[dict[str, Arg]] = {
    **_TASK_FILE,
    "index": Arg("index"),
    "buffer": _opt("page", doc="the page of the task's memory that the kernel copies to or from"),
}

VERBS: Final[dict[str, Verb]] = {
    # errors and who meets them
    "inject": Verb(
        "Make an error: poison is what software injectors do (memory_failure() is called at once), "
        "line is a bad line that waits to be found.",
        {
            "page": _PAGE,
            "line": _opt("line", 0, doc="which 64-byte line of the page"),
            "how": _opt("choice", "poison", ("poison", "line")),
            "permanent": _opt("bool", False, doc="a store does not heal it and a reboot brings it back"),
        },
    ),
    "mce": Verb("Report a machine check for the page now, as the scrubber would.", {"page": _PAGE}),
    "mce_inject": Verb(
        "Machine checks in the text format of mce-inject, on this machine's CPUs.",
        {"text": Arg("mce_text", doc='records such as "CPU 0 BANK 8 STATUS UNCORRECTED SRAO 0xc0 ..."')},
    ),
    "scrub": Verb("The patrol scrubber visits this page now.", {"page": _PAGE}),
    "load": Verb("The task reads the page.", {"task": _TASK, "page": _PAGE}),
    "store": Verb(
        "The task writes to the page.",
        {
            "task": _TASK,
            "page": _PAGE,
            "full_line": _opt(
                "bool", False, doc="overwrite whole lines without reading them: heals a transient error"
            ),
            "until": _opt(
                "choice", None, ("pte",), doc="pte: only the dirty bit of the page table entry is set"
            ),
        },
    ),
    # tasks and their address spaces
    "fork": Verb("The task forks; the child is named after it with the next free number.", {"task": _TASK}),
    "exit": Verb("The task exits.", {"task": _TASK}),
    "mmap": Verb(
        "The task maps a new region.",
        {
            "task": _TASK,
            "name": Arg("new_region", doc="name of the new region"),
            "kind": Arg("choice", choices=tuple(REGIONS)),
            "size": _opt("size", doc="size; a mapping of a file may leave it out"),
            "file": _opt("file", doc="kind file only"),
            "shared": _opt("bool", doc=SHARED_BY_DEFAULT),
        },
    ),
    "munmap": Verb("The task unmaps pages of a region.", dict(_RANGE)),
    "mremap": Verb(
        "The task moves pages of a region to another address, as a new region.",
        {**_RANGE, "to": Arg("new_region", doc="name of the new region")},
    ),
    "mprotect": Verb("The task changes write permission.", {**_RANGE, "write": Arg("bool")}),
    "mlock": Verb("The task locks a region in memory.", {"task": _TASK, "region": _REGION}),
    "munlock": Verb("The task unlocks a region.", {"task": _TASK, "region": _REGION}),
    "madvise": Verb(
        "The task advises on pages: they are dropped, removed from their file too (a hole), or poisoned.",
        {**_RANGE, "advice": Arg("choice", choices=("dontneed", "remove", "hwpoison"))},
    ),
    # files
    "open": Verb("The task opens the file.", dict(_OPEN_FILE)),
    "close": Verb("The task closes the file.", dict(_OPEN_FILE)),
    "read": Verb("The task reads a page with read().", dict(_READ_WRITE)),
    "write": Verb(
        "The task writes a page with write().",
        {**_READ_WRITE, **_OPEN_FILE, "sync": _opt("bool", False, doc="the file is open with O_SYNC")},
    ),
    "fsync": Verb("The task calls fsync() on the file.", dict(_OPEN_FILE)),
    "fdatasync": Verb("The task calls fdatasync() on the file.", dict(_OPEN_FILE)),
    "sync_file_range": Verb(
        "The task calls sync_file_range() with waiting on the whole file.", dict(_OPEN_FILE)
    ),
    "msync": Verb("The task calls msync() on its mapping of the file.", dict(_TASK_FILE)),
    "sync": Verb("sync(): every dirty file page is written."),
    "evict": Verb(
        "The inode of a file on a disk or NFS that nobody has open or mapped leaves memory.", {"file": _FILE}
    ),
    "truncate": Verb(
        "The file is cut to a new length.", {"file": _FILE, "pages": Arg("index", doc="new length in pages")}
    ),
    "punch": Verb(
        "A hole is punched into the file; where the kernel cannot (all but tmpfs) the answer is ENOSYS.",
        {"file": _FILE, "index": Arg("index"), "pages": _PAGES},
    ),
    # the state of one page
    "swap_out": Verb("Reclaim puts the page into the swap cache and unmaps it.", {"page": _PAGE}),
    "swap_in": Verb("The page is read back from swap.", {"page": _PAGE}),
    "start_writeback": Verb("Writeback of the page begins.", {"page": _PAGE}),
    "end_writeback": Verb("Writeback of the page ends.", {"page": _PAGE}),
    "lock_page": Verb("Somebody else takes the page lock.", {"page": _PAGE}),
    "unlock_page": Verb("The page lock is released.", {"page": _PAGE}),
    "pin": Verb("Somebody takes a reference (get_user_pages, DMA).", {"page": _PAGE}),
    "unpin": Verb("The reference is dropped.", {"page": _PAGE}),
    "pagevec": Verb("The page sits in the pagevec of a CPU.", {"page": _PAGE, "cpu": _opt("cpu", 1)}),
    "buffers": Verb(
        "What is attached to the page.",
        {"page": _PAGE, "state": Arg("choice", choices=("idle", "busy", "none"))},
    ),
    "flags": Verb(
        "Set and clear page flags directly, to build a case of the error-state table.",
        {"page": _PAGE, "set": _opt("flags", ()), "clear": _opt("flags", ())},
    ),
    "unmap_fails": Verb("The next tries to unmap the page fail.", {"page": _PAGE, "tries": _opt("tries", 5)}),
    # kernel memory
    "alloc": Verb(
        "The kernel allocates a block of 2**order pages.",
        {"kind": Arg("choice", choices=tuple(POOLS)), "order": _opt("order", 0), "name": Arg("new_alloc")},
    ),
    "free": Verb("The kernel frees a block that alloc named.", {"name": Arg("alloc")}),
    "free_page": Verb("The kernel frees the page.", {"page": _PAGE}),
    # settings
    "mask": Verb(
        "The task blocks a signal.", {"task": _TASK, "signal": _opt("choice", "SIGBUS", ("SIGBUS",))}
    ),
    "unmask": Verb(
        "The task unblocks a signal.", {"task": _TASK, "signal": _opt("choice", "SIGBUS", ("SIGBUS",))}
    ),
    "sysctl": Verb(
        "Write a sysctl; the kernel refuses a value out of range.",
        {"name": Arg("sysctl"), "value": Arg("int")},
    ),
    "prctl": Verb(
        "The task calls prctl(); a kernel without the option answers EINVAL.",
        {
            "task": _TASK,
            "option": Arg("choice", choices=("PR_MCE_KILL", "PR_MCE_KILL_GET")),
            "value": _opt("value", 0),
        },
    ),
    "reboot": Verb("The machine reboots."),
}
