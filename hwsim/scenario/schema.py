"""The tables of a scenario file, ``[machine]`` and ``[dram]`` excepted.

Checks that need one value only are here and in ``fields``; checks across tables (names, sums, memory) are in
``checks``, those of script steps in ``steps``.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict

from hwsim import spec
from hwsim.kernel.frames import MAX_ORDER
from hwsim.memory.kinds import KINDS, POOLS, REGIONS, SHARED_BY_DEFAULT
from hwsim.record import ToldBy
from hwsim.scenario.fields import (
    Age,
    Duration,
    DurationOrNever,
    ErrorRate,
    FieldRate,
    Flag,
    Name,
    PositiveDuration,
    PositivePages,
    Prose,
    RatePerS,
    Share,
    Title,
    choice,
    meaning,
    number,
    refuse,
    whole,
)
from hwsim.scenario.keys import Model, OrOne, OrText, key
from hwsim.scenario.schema_dram import Dram
from hwsim.scenario.schema_machine import Machine
from hwsim.units import MAX_PFN

FILESYSTEMS: Final = ("ext2", "ext3", "ext4", "xfs", "nfs", "ramfs", "tmpfs", "blockdev")
ASKING_CALLS: Final = (
    ToldBy.FSYNC, ToldBy.FDATASYNC, ToldBy.MSYNC, ToldBy.O_SYNC, ToldBy.SYNC_FILE_RANGE
)  # fmt: skip
_POOL_ORDERS: Final = ", ".join(f"{name} {use.order}" for name, use in POOLS.items() if use.order)
SIGBUS_ANSWERS: Final = ("default", "ignored", "blocked", "remap", "exit", "return", "touch")
_HUGE: Final = [name for name, use in REGIONS.items() if use.huge]
HUGE_PAGE_ORDERS: Final = dict(size for name in _HUGE for size in REGIONS[name].huge_pages)
_OF_HUGE: Final = f"of {' and '.join(_HUGE)} only"
NOT_OF_DRAM: Final = ("rate", "count", "field_rate", "where", "permanent", "burst_pages")
MAX_ERRORS: Final = 10_000_000  # expected in one replication: more is a slip of the pen in a rate


class Where(Model):
    """Where errors fall: exactly one of these."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    region: str | None = key(
        '"task/region" of all tasks of a group, "task.3/region" of one, "file:NAME", "kernel:KIND" or "free"',
        default=None,
    )
    kind: Annotated[str, choice(*KINDS)] | None = key("pages of this kind", default=None)
    pfns: tuple[Annotated[int, whole(0, MAX_PFN - 1, "(a page frame number)")], ...] | None = key(
        "these pages", default=None, min_length=1, max_length=100_000
    )


WHERE_ALLOWED = '"uniform", { region = "task/region" }, { kind = "anon" } or { pfns = [1, 2] }'


def _where(value: object) -> object:
    if value == "uniform":
        return {}
    if not isinstance(value, dict):
        raise refuse("not a place", WHERE_ALLOWED)
    if len(value.keys() & {"region", "kind", "pfns"}) != 1 and value.keys() <= {"region", "kind", "pfns"}:
        raise refuse("must name exactly one place", WHERE_ALLOWED)
    return value


class Errors(Model, fills=spec.ErrorSpec):
    """A stream of errors: with a rate or with a count, or of the faults of the DIMMs."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"kind": {"const": "dram"}}, "required": ["kind"]},
            "then": {"properties": dict.fromkeys(NOT_OF_DRAM, False)},
            "else": {"oneOf": [{"required": ["rate"]}, {"required": ["count"]}]},
        }
    )

    kind: Annotated[str, choice("uncorrected", "dram")] = key(
        "errors as they come, or faults of the DIMMs in [dram], which decide all else but start and end",
        default="uncorrected",
    )
    rate: ErrorRate | None = key("a Poisson process: this or count", default=None)
    count: Annotated[int, whole(1, MAX_ERRORS, "errors")] | None = key(
        "so many in each machine, at uniform random times between start and end: the Poisson process given "
        "its number of events"
    )
    field_per_s: FieldRate | None = key(
        "what the field reports for one machine: printed with the results, not played", "field_rate"
    )
    where: Annotated[Where, OrText(_where, '"uniform"', enum=["uniform"])] = key(
        'where they fall; "uniform", the default: anywhere in the machine\'s memory', default_factory=Where
    )
    permanent: Share = key(
        "share that no store heals and no reboot ends; of the faults behind Alibaba's uncorrected errors "
        "half stayed (fit = alibaba, each kind by its share with an uncorrected error), of all DRAM faults "
        "71 % (Sridharan and Liberty, SC 2012)"
    )
    burst_pages: Annotated[int, whole(1, 1 << 20, "pages")] = key(
        "neighbouring pages that go bad at once, one line in each"
    )
    start_ns: Duration = key("when the stream begins, since the start of the machine", "start")
    end_ns: PositiveDuration | None = key("when it ends; default: the horizon", "end")


class Touch(Model, fills=spec.Touch):
    """A band of pages, by page index, and how often each task touches each page of it."""

    share: Share = key("share of the pages: bands follow one another", default=1.0)
    load_per_s: RatePerS = key("reads of a page by a task", "load")
    store_per_s: RatePerS = key("writes to a page by a task", "store")


Touches = Annotated[tuple[Touch, ...], OrOne()]
Lines = Annotated[float, number(0.01, 64, "lines of 64 bytes")]


class File(Model, fills=spec.FileSpec):
    """A file, or a block device, with pages in the page cache."""

    name: Name = key("its name, for the keys file of other tables")
    size: PositivePages = key("its length")
    filesystem: Annotated[str, choice(*FILESYSTEMS)] = key(
        "ext2 to nfs account dirty pages; ext3 stands for data=writeback, as these kernels mount it by "
        "default (2.6.30 to 2.6.35, fs/ext3/Kconfig)"
    )
    cached: Share = key("share of the file that is in memory: its first pages", default=1.0)
    touch: Touches = key("read() and write(), for each page; default: never after the start", default=())
    flush_every_ns: Age | None = key(
        "age, from the first store on, at which the flusher writes the file, at its next wake; default: "
        "vm.dirty_expire_centisecs",
        "flush_every",
    )
    buffers: Annotated[str, choice("none", "idle", "busy")] = key("what is attached to the pages")
    buffers_busy: Share = key("probability that idle buffers are busy when they are looked at")
    turnover_per_s: RatePerS = key("how often a page is reclaimed and read again", "turnover")
    pagevec: Share = key("probability that a page still sits in some CPU's pagevec")
    lines_per_touch: Lines = key("how much of a page one call touches: a whole page; assumption")
    truncate_per_s: RatePerS = key("how often the file is cut and written anew, as logs are", "truncate")
    writers: tuple[str, ...] = key(
        "the groups of tasks that make the write() calls: whose a lost write was; default: those with an "
        "fsync on this file"
    )
    evict_per_s: RatePerS = key(
        "how often the inode leaves memory, pages and error with it, while nobody has the file open; not of "
        "tmpfs, ramfs and blockdev",
        "evict",
    )


class Swap(Model, fills=spec.SwapCycle):
    """The cycle of a frame through the swap cache, plain for the rest of the time."""

    period_ns: PositiveDuration = key("mean time of a round", "period")
    dirty_mapped: Share = key("share of it: dirty in the swap cache and mapped")
    dirty_unmapped: Share = key("share of it: dirty and unmapped")
    clean_unmapped: Share = key("share of it: written out, unmapped")
    clean_mapped: Share = key("share of it: read back, clean and mapped")


class Region(Model, fills=spec.RegionSpec):
    """A piece of a task's address space."""

    kind: Annotated[str, choice(*REGIONS)] = key(
        ", ".join(f"{name}: {KINDS[name].shown[0]}" for name in REGIONS)
    )
    name: Name | None = key("for postgres.0/shm and the like; default: the kind", default=None)
    size: PositivePages | None = key("needed, except for a mapping of a whole cached file", default=None)
    touch: Touches = key("how often it is touched; default: never after the start", default=())
    file: str | None = key("the file that a mapping maps, from its start on")
    shared: Flag | None = key(
        "all tasks of the group see the same frames; anon is otherwise shared with forked children, "
        f"copy-on-write; {SHARED_BY_DEFAULT}",
        default=None,
    )
    mlock: Flag = key("locked in memory with mlock()")
    populate: Flag = key("every page is written once at start; false: it appears at its first touch")
    lines_per_touch: Lines = key("how much of a page one touch reads or writes; assumption")
    full_line: Share = key("share of stores that overwrite whole lines without reading them; assumption")
    swap: Swap | None = key("the way of its pages through the swap cache; default: none")
    pagevec: Share = key("probability that a page still sits in some CPU's pagevec")
    huge_order: Annotated[int, meaning(HUGE_PAGE_ORDERS)] = key(f"size, {_OF_HUGE}", "huge_page")
    huge_free: Share = key(f"share of the huge pages that are free in the pool, {_OF_HUGE}")
    unmap_fail: Share = key("probability that one try to unmap fails, as in a race with a fault")

    @property
    def label(self) -> str:
        return self.name or str(self.kind)


def _one_answer(value: object) -> object:
    return dict.fromkeys(("on_ao", "on_ar"), value) if isinstance(value, str) else value


class Sigbus(Model, fills=spec.SigbusSpec):
    """What the task does with SIGBUS."""

    on_ao: Annotated[str, choice(*SIGBUS_ANSWERS)] = key(
        "BUS_MCEERR_AO: it is told of an error that it has not touched; touch: the handler touches the page "
        "itself, and dies of it"
    )
    on_ar: Annotated[str, choice(*SIGBUS_ANSWERS)] = key("BUS_MCEERR_AR: it has touched the error")
    unblock_ns: PositiveDuration | None = key(
        "blocked only: SIGBUS is unblocked this long after it is sent; default: never", "unblock"
    )


class Fsync(Model, fills=spec.FsyncSpec):
    """A file that each task of the group keeps open, and asks for errors."""

    file: str = key("name of the [[file]]")
    every_ns: PositiveDuration = key("how often it asks, its phase random", "every")
    call: Annotated[str, choice(*ASKING_CALLS)] = key("how it asks: all of these write back first")
    reopen_ns: PositiveDuration | None = key("the file is opened anew this often; default: never", "reopen")
    open_share: Share = key("with reopen: share of that time in which it is open", "open")
    checks: Flag = key("false: the return value is thrown away")


class Task(Model, fills=spec.TaskSpec):
    """A group of like tasks."""

    name: Name = key("tasks are called postgres.0, forked children web.0.3")
    count: Annotated[int, whole(1, 100_000, "tasks")] = key("like tasks in the group")
    children: Annotated[int, whole(0, 100_000, "tasks")] = key("workers forked by each")
    regions: tuple[Region, ...] = key("pieces of the address space of each", "region")
    sigbus: Annotated[Sigbus, OrText(_one_answer, "one of the answers", enum=list(SIGBUS_ANSWERS))] = key(
        "what it does with SIGBUS: one answer, or one for each code", default_factory=Sigbus
    )
    group_death: Flag = key("one death takes the whole group down, and all are started again")
    restart_ns: DurationOrNever = key("until the supervisor starts the dead again", "restart")
    fsync: Fsync | None = key("a file that it keeps open and asks for errors; default: none")
    mce_kill: Annotated[str, choice("default", "early", "late")] = key(
        "prctl(PR_MCE_KILL), in kernels that have it (2.6.32, kernel/sys.c) or with early_kill_scheme = prctl"
    )
    lifetime_ns: DurationOrNever = key(
        "mean of an exponential life time; the supervisor starts the task again after restart", "lifetime"
    )


class Pool(Model, fills=spec.KernelPoolSpec):
    """Pages that the kernel owns."""

    kind: Annotated[str, choice(*POOLS)] = key("whose: each kind once")
    size: PositivePages = key("of the pool")
    order: Annotated[int, whole(0, MAX_ORDER, "(a power of two)")] | None = key(
        f"pages of one allocation; default: 0, {_POOL_ORDERS}", default=None
    )
    load_per_s: RatePerS = key("kernel reads of a page", "load")
    store_per_s: RatePerS = key("kernel writes to a page", "store")
    lifetime_ns: DurationOrNever = key("mean time until an allocation is freed", "lifetime")
    full_line: Share = key("share of stores that overwrite whole lines without reading them; assumption")


class Step(Model, fills=spec.ScriptStep):
    """One exact step: its other keys are the arguments of its verb."""

    model_config = ConfigDict(extra="allow")

    at_ns: Duration = key("when, since the start of the machine", "at")
    verb: str = key("a verb, such as inject or load", "do")


class ScenarioModel(Model, fills=spec.Spec):
    """A scenario file."""

    extends: str | None = key(
        "a scenario file that this one builds on, relative to it: its tables are merged, its arrays replaced",
        default=None,
    )
    name: Title = key("for people and for file names")
    description: Prose = key("for people", default="")
    horizon_ns: PositiveDuration = key(
        "how long each machine is watched; half-open: what falls on it does not happen", "horizon"
    )
    seed: Annotated[int, whole(0, 2**63 - 1)] = key("root of all randomness", default=1)
    repeat: Annotated[int, whole(1, 100_000_000, "machines")] = key(
        "replications: each a machine of its own", default=100
    )
    machine: Machine = key("the machine and its kernel")
    dram: Dram | None = key("DIMMs, their faults and their ECC", default=None)
    errors: tuple[Errors, ...] = key("streams of errors")
    files: tuple[File, ...] = key("what is in the page cache", "file")
    tasks: tuple[Task, ...] = key("who uses the machine", "task")
    pools: tuple[Pool, ...] = key("pages that the kernel owns", "kernel")
    script: tuple[Step, ...] = key("exact steps")
