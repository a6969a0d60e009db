"""The shape of a scenario file.  Every default is the one of ``hwsim.spec``.

Checks that need one value only are here and in ``fields``; checks across tables (names, sums,
memory) are in ``checks``, those of script steps in ``steps``.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hwsim import spec, units
from hwsim.kernel.frames import MAX_ORDER
from hwsim.memory.kinds import KINDS, POOLS, REGIONS, SHARED_BY_DEFAULT
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
    number,
    refuse,
    whole,
)
from hwsim.scenario.schema_dram import Dram
from hwsim.scenario.schema_machine import Machine, Model, OrText, same_as
from hwsim.units import MAX_PFN

FILESYSTEMS: Final = ("ext2", "ext3", "ext4", "xfs", "nfs", "ramfs", "tmpfs", "blockdev")
ASKING_CALLS: Final = ("fsync", "fdatasync", "msync", "o_sync", "sync_file_range")
_POOL_ORDERS: Final = ", ".join(f"{name} {use.order}" for name, use in POOLS.items() if use.order)
SIGBUS_ANSWERS: Final = ("default", "ignored", "blocked", "remap", "exit", "return", "touch")
HUGE_PAGE_ORDERS: Final = {"2 MiB": 9, "1 GiB": 18}
MAX_ERRORS: Final = 10_000_000  # expected in one replication: more is a slip of the pen in a rate


class Where(Model):
    """Exactly one of the three."""

    region: str | None = Field(None, description='"task/region", "file:NAME", "kernel:KIND" or "free"')
    kind: Annotated[str, choice(*KINDS)] | None = None
    pfns: tuple[Annotated[int, whole(0, MAX_PFN - 1)], ...] | None = Field(
        None, min_length=1, max_length=100_000
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


class Errors(Model):
    """A stream of errors: with a rate or with a count."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["rate", "count"]}})

    kind: Annotated[str, choice("uncorrected", "dram")] = Field(
        "uncorrected", description="errors as they come, or faults of the DIMMs in [dram]"
    )
    rate: ErrorRate | None = Field(
        None, description="uncorrected: a rate or a count; of DRAM faults their FIT"
    )
    count: Annotated[int, whole(1, MAX_ERRORS)] | None = Field(
        None, description="instead of a rate: so many in each machine, at uniform random times"
    )
    field_rate: FieldRate | None = Field(
        None, description="what the field reports for one machine: printed, not played"
    )
    where: Annotated[Where, BeforeValidator(_where), OrText(enum=["uniform"])] = Field(default_factory=Where)
    permanent: Share = same_as(spec.ErrorSpec, "permanent", "share that no store heals and no reboot ends")
    burst_pages: Annotated[int, whole(1, 1 << 20)] = same_as(
        spec.ErrorSpec, "burst_pages", "neighbouring pages that go bad at once"
    )
    start: Duration = same_as(spec.ErrorSpec, "start_ns", "", units.format_duration)
    end: PositiveDuration | None = Field(None, description="default: the horizon")


class Touch(Model):
    """A band of pages and how often each task touches each page of it."""

    share: Share = 1.0
    load: RatePerS = Field(0.0, json_schema_extra={"default": "never"})
    store: RatePerS = Field(0.0, json_schema_extra={"default": "never"})


Touches = Annotated[
    tuple[Touch, ...], BeforeValidator(lambda value: (value,) if isinstance(value, dict) else value)
]


class File(Model):
    """A file, or a block device, with pages in the page cache."""

    name: Name
    size: PositivePages
    filesystem: Annotated[str, choice(*FILESYSTEMS)] = same_as(spec.FileSpec, "filesystem", "")
    cached: Share = Field(1.0, description="share of the file that is in memory: its first pages")
    touch: Touches = Field((), description="read() and write(), for each page")
    flush_every: Age | None = Field(
        None,
        description="age at which the flusher writes the file; default: vm.dirty_expire_centisecs",
    )
    buffers: Annotated[str, choice("none", "idle", "busy")] = same_as(
        spec.FileSpec, "buffers", "what is attached to the pages"
    )
    buffers_busy: Share = same_as(spec.FileSpec, "buffers_busy", "probability that idle buffers are busy")
    turnover: RatePerS = same_as(
        spec.FileSpec, "turnover_per_s", "a page is reclaimed and read again", lambda _: "never"
    )
    pagevec: Share = same_as(spec.FileSpec, "pagevec", "probability that a page is in a CPU's pagevec")
    lines_per_touch: Annotated[float, number(0.01, 64)] = same_as(
        spec.FileSpec, "lines_per_touch", "lines of a page that one call touches"
    )
    truncate: RatePerS = same_as(
        spec.FileSpec, "truncate_per_s", "cut to zero and written anew", lambda _: "never"
    )
    writers: tuple[str, ...] = Field(
        (), description="groups that make the write() calls; default: those with an fsync on this file"
    )
    evict: RatePerS = same_as(
        spec.FileSpec,
        "evict_per_s",
        "the inode leaves memory while nobody has it open",
        lambda _: "never",
    )


class Swap(Model):
    """The cycle of a frame through the swap cache: mean time of a round, and shares of it."""

    period: PositiveDuration
    dirty_mapped: Share = 0.0
    dirty_unmapped: Share = 0.0
    clean_unmapped: Share = 0.0
    clean_mapped: Share = 0.0


class Region(Model):
    """A piece of a task's address space."""

    kind: Annotated[str, choice(*REGIONS)]
    name: Name | None = Field(None, description="default: the kind")
    size: PositivePages | None = Field(
        None, description="needed, except for a mapping of a whole cached file"
    )
    touch: Touches = ()
    file: str | None = None
    shared: Flag | None = Field(None, description=SHARED_BY_DEFAULT)
    mlock: Flag = same_as(spec.RegionSpec, "mlock", "")
    populate: Flag = same_as(spec.RegionSpec, "populate", "every page is written once at start")
    lines_per_touch: Annotated[float, number(0.01, 64)] = same_as(
        spec.RegionSpec, "lines_per_touch", "lines that one touch reads or writes"
    )
    full_line: Share = same_as(spec.RegionSpec, "full_line", "share of stores that overwrite whole lines")
    swap: Swap | None = None
    pagevec: Share = same_as(spec.RegionSpec, "pagevec", "probability that a page is in a CPU's pagevec")
    huge_page: Annotated[str, choice(*HUGE_PAGE_ORDERS)] = "2 MiB"
    huge_free: Share = same_as(
        spec.RegionSpec, "huge_free", "share of the huge pages that are free in the pool"
    )
    unmap_fail: Share = same_as(spec.RegionSpec, "unmap_fail", "probability that one try to unmap fails")

    @property
    def label(self) -> str:
        return self.name or str(self.kind)


def _text_as(key: str, *also: str) -> BeforeValidator:
    """A text stands for a table with this text under ``key`` (and ``also``)."""
    return BeforeValidator(
        lambda value: dict.fromkeys((key, *also), value) if isinstance(value, str) else value
    )


class Sigbus(Model):
    """What the task does with SIGBUS."""

    on_ao: Annotated[str, choice(*SIGBUS_ANSWERS)] = same_as(
        spec.SigbusSpec, "on_ao", "told of an error it has not touched"
    )
    on_ar: Annotated[str, choice(*SIGBUS_ANSWERS)] = same_as(spec.SigbusSpec, "on_ar", "it touched the error")
    unblock: PositiveDuration | None = Field(
        None, description="blocked only: unblocked this long after the signal"
    )


class Fsync(Model):
    """A file kept open, with a periodic fsync()."""

    file: str
    every: PositiveDuration
    call: Annotated[str, choice(*ASKING_CALLS)] = same_as(
        spec.FsyncSpec, "call", "all of them write back and ask for errors"
    )
    reopen: PositiveDuration | None = Field(None, description="opened anew this often")
    open: Share = same_as(spec.FsyncSpec, "open_share", "with reopen: share of that time in which it is open")
    checks: Flag = same_as(spec.FsyncSpec, "checks", "false: the return value is thrown away")


class Task(Model):
    """A group of like tasks."""

    name: Name
    count: Annotated[int, whole(1, 100_000)] = same_as(spec.TaskSpec, "count", "tasks in the group")
    children: Annotated[int, whole(0, 100_000)] = same_as(
        spec.TaskSpec, "children", "forked children of each"
    )
    region: tuple[Region, ...] = ()
    sigbus: Annotated[Sigbus, _text_as("on_ao", "on_ar"), OrText(enum=list(SIGBUS_ANSWERS))] = Field(
        default_factory=Sigbus
    )
    group_death: Flag = same_as(spec.TaskSpec, "group_death", "the death of one restarts all")
    restart: DurationOrNever = same_as(spec.TaskSpec, "restart_ns", "by the supervisor", lambda _: "never")
    fsync: Fsync | None = None
    mce_kill: Annotated[str, choice("default", "early", "late")] = same_as(
        spec.TaskSpec, "mce_kill", "prctl(PR_MCE_KILL), in kernels that have it"
    )
    lifetime: DurationOrNever = same_as(spec.TaskSpec, "lifetime_ns", "mean life time", lambda _: "never")


class Pool(Model):
    """Pages that the kernel owns."""

    kind: Annotated[str, choice(*POOLS)]
    size: PositivePages
    order: Annotated[int, whole(0, MAX_ORDER)] | None = Field(
        None, description=f"2**order pages each; default 0, {_POOL_ORDERS}"
    )
    load: RatePerS = same_as(spec.KernelPoolSpec, "load_per_s", "kernel reads of a page", lambda _: "never")
    store: RatePerS = same_as(spec.KernelPoolSpec, "store_per_s", "kernel writes", lambda _: "never")
    lifetime: DurationOrNever = same_as(
        spec.KernelPoolSpec, "lifetime_ns", "mean until it is freed", lambda _: "never"
    )
    full_line: Share = same_as(spec.KernelPoolSpec, "full_line", "share of stores that overwrite whole lines")


class Step(BaseModel):
    """One exact step; its arguments depend on the verb and are checked in ``steps``."""

    model_config = ConfigDict(extra="allow", frozen=True)

    at: Duration
    do: str = Field(description="a verb, such as inject or load")


class ScenarioModel(Model):
    """A scenario file."""

    extends: str | None = Field(None, description="a scenario file that this one builds on, relative to it")
    name: Title
    description: Prose = ""
    horizon: PositiveDuration = Field(description="how long each machine is watched")
    seed: Annotated[int, whole(0, 2**63 - 1)] = 1
    repeat: Annotated[int, whole(1, 100_000_000)] = Field(100, description="replications: how many machines")
    machine: Machine
    dram: Dram | None = Field(None, description="DIMMs, their faults and ECC, for hwsim faults")
    errors: tuple[Errors, ...] = ()
    file: tuple[File, ...] = ()
    task: tuple[Task, ...] = ()
    kernel: tuple[Pool, ...] = ()
    script: tuple[Step, ...] = ()
