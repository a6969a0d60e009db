"""The ``[machine]`` table of a scenario file, and what all tables have in common.

Every default is the one of ``hwsim.spec``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue

from hwsim import spec, units
from hwsim.kernel.frames import MAX_ORDER
from hwsim.kernel.switches import SWITCHES, Switch
from hwsim.kernel.versions import KERNELS
from hwsim.scenario.fields import (
    Duration,
    DurationOrNever,
    Flag,
    Pages,
    PositivePages,
    RatePerS,
    Share,
    choice,
    number,
    refuse,
    whole,
)
from hwsim.script.verbs import SYSCTLS

CENTISEC_NS: Final = 10_000_000
DISTRIBUTIONS: Final[dict[str, tuple[str, ...]]] = {  # kind -> keys it needs
    "constant": ("mean",),
    "exponential": ("mean",),
    "uniform": ("low", "high"),
    "lognormal": ("mean", "sigma"),
}


class Model(BaseModel):
    """A table: unknown keys are mistakes, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


def _default_of(owner: type[Any], name: str) -> Any:
    for item in dataclasses.fields(owner):
        if item.name == name:
            return item.default
    raise KeyError(name)


def same_as(
    owner: type[Any], name: str, doc: str, show: Callable[[Any], str] | None = None, **more: Any
) -> Any:
    """A field with the default of ``owner.name``; ``show`` writes it as a file would."""
    default = _default_of(owner, name)
    if show is not None:
        text = "never" if default is None else show(default)
        more["json_schema_extra"] = {"default": text}
    return Field(default=default, description=doc, **more)


class OrText:
    """For the JSON Schema: the table may be written as a text instead."""

    def __init__(self, **text: Any) -> None:
        self.text = {"type": "string", **text}

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [self.text, handler(core)]}


class Delay(Model):
    """A random duration; ``mean`` of a lognormal is its median."""

    kind: Annotated[str, choice(*DISTRIBUTIONS)]
    mean: Duration | None = None
    low: Duration | None = None
    high: Duration | None = None
    sigma: Annotated[float, number(0, 10)] | None = Field(
        None, description="standard deviation of the logarithm"
    )
    chance: Share = same_as(spec.Delay, "chance", "probability that it takes any time at all")


def _constant(value: object) -> object:
    return {"kind": "constant", "mean": value} if isinstance(value, str) else value


AnyDelay = Annotated[Delay, BeforeValidator(_constant), OrText(examples=["2 ms"])]


class Times(Model):
    """How long things take.  Each is a duration or a distribution."""

    rendezvous: AnyDelay | None = Field(None, description="all CPUs meet in the machine-check handler")
    return_to_user: AnyDelay | None = Field(None, description="from the interrupt to the return to user mode")
    workqueue: AnyDelay | None = Field(None, description="until the workqueue runs memory_failure()")
    lock_wait: AnyDelay | None = Field(None, description="wait for the page lock")
    writeback: AnyDelay | None = Field(None, description="writeback of one page")
    reread: AnyDelay | None = Field(None, description="a page is read again from disk or swap")
    rmap_per_vma: AnyDelay | None = Field(None, description="reverse-map walk, for each process and VMA")
    unmap: AnyDelay | None = Field(None, description="one try to unmap the page")
    page_handler: AnyDelay | None = Field(None, description="the handler of the error-state row")
    signal_delivery: AnyDelay | None = Field(None, description="from sending a signal to its delivery")
    sigbus_handler: AnyDelay | None = Field(None, description="the task's own SIGBUS handler")


class Sysctl(Model):
    """Kernel settings under their own names."""

    early_kill: Annotated[int, whole(*SYSCTLS["vm.memory_failure_early_kill"])] | None = Field(
        None,
        alias="vm.memory_failure_early_kill",
        description="1: tell tasks at once; 0: when they touch the page",
    )
    recovery: Annotated[int, whole(*SYSCTLS["vm.memory_failure_recovery"])] | None = Field(
        None,
        alias="vm.memory_failure_recovery",
        description="0: memory_failure() panics; not in v5",
    )
    dirty_expire: Annotated[int, whole(*SYSCTLS["vm.dirty_expire_centisecs"])] = Field(
        _default_of(spec.MachineSpec, "dirty_expire_ns") // CENTISEC_NS,
        alias="vm.dirty_expire_centisecs",
        description="age at which the flusher writes a dirty file, in hundredths of a second",
    )
    dirty_writeback: Annotated[int, whole(*SYSCTLS["vm.dirty_writeback_centisecs"])] = Field(
        _default_of(spec.MachineSpec, "dirty_writeback_ns") // CENTISEC_NS,
        alias="vm.dirty_writeback_centisecs",
        description="how often the flusher wakes, in hundredths of a second; 0: never",
    )


def _switch(switch: Switch) -> tuple[Any, Any]:
    kind = Annotated[str, choice(*switch.allowed)] if switch.allowed else Share
    return (kind | None, Field(None, description=switch.effect))


# One key for each switch of the model: default is what the kernel profile says.
_FIELDS: dict[str, Any] = {each.name: _switch(each) for each in SWITCHES}
Switches: Any = create_model("Switches", __base__=Model, **_FIELDS)


class Config(Model):
    """Kernel build switches that add or remove page flags and rows of the table."""

    unevictable_lru: Flag = same_as(spec.MachineSpec, "unevictable_lru", "", alias="UNEVICTABLE_LRU")
    mlocked_page_bit: Flag = same_as(spec.MachineSpec, "mlocked_page_bit", "", alias="HAVE_MLOCKED_PAGE_BIT")
    pageflags_extended: Flag = same_as(spec.MachineSpec, "pageflags_extended", "", alias="PAGEFLAGS_EXTENDED")


class Scrub(Model):
    """The patrol scrubber."""

    period: DurationOrNever = same_as(spec.ScrubSpec, "period_ns", "time of one sweep", units.format_duration)
    signals: Annotated[str, choice("SRAO", "UCNA", "fatal", "none")] = same_as(
        spec.ScrubSpec, "signals", "how a find is reported"
    )


class Corrected(Model):
    """How corrected errors are reported."""

    signals: Annotated[str, choice("CMCI", "poll")] = same_as(
        spec.CorrectedSpec, "signals", "an interrupt for each error, or the timer that polls the banks"
    )
    storms: Flag = same_as(
        spec.CorrectedSpec, "storms", "a storm turns CMCI off for a while, as since Linux 6.7"
    )
    mcelog: Duration = same_as(
        spec.CorrectedSpec,
        "mcelog_ns",
        "how often a program empties /dev/mcelog; 0 s: at once",
        units.format_duration,
    )


class OnPanic(Model):
    """What follows a panic."""

    reboot: DurationOrNever = same_as(
        spec.MachineSpec,
        "reboot_ns",
        "time until the machine works again",
        units.format_duration,
    )
    repair: Share = same_as(
        spec.MachineSpec, "repair_share", "probability that the memory at fault is replaced at the reboot"
    )


class Alloc(Model):
    """Page allocations from the free lists."""

    rate: RatePerS = same_as(
        spec.MachineSpec, "alloc_per_s", "allocations of the whole machine", lambda _: "never"
    )
    order: Annotated[int, whole(0, MAX_ORDER)] = same_as(
        spec.MachineSpec, "alloc_order", "2**order pages each"
    )


def _panic(value: object) -> object:
    if value == "end":
        return {"reboot": "never"}
    if not isinstance(value, dict):
        raise refuse("not a table", '"end" or { reboot = "5 min" }')
    return value


class Machine(Model):
    """The machine."""

    chance: Annotated[str, choice("on", "off")] = Field(
        "on",
        description="off: no flusher, swap cycle, errors or patrol scrub; times are their medians, "
        "probabilities below 1 are 0: every replication is the same",
    )
    memory: PositivePages = Field(description="memory that the kernel manages")
    cpus: Annotated[int, whole(1, 4096)] = same_as(spec.MachineSpec, "cpus", "number of CPUs")
    kernel: Annotated[str, choice(*KERNELS)] = same_as(spec.MachineSpec, "kernel", "kernel profile")
    sysctl: Sysctl = Field(default_factory=Sysctl)
    config: Config = Field(default_factory=Config)
    tolerant: Annotated[int, whole(0, 3)] = same_as(
        spec.MachineSpec, "tolerant", "machine-check tolerance level"
    )
    hidden: Pages = Field(0, description="memory without struct pages", json_schema_extra={"default": "0 B"})
    scrub: Scrub = Field(default_factory=Scrub)
    device_read: Annotated[str, choice("UCNA", "fatal", "silent")] = same_as(
        spec.MachineSpec, "device_read", "what DMA of a bad line does"
    )
    corrected: Corrected = Field(default_factory=Corrected)
    on_panic: Annotated[OnPanic, BeforeValidator(_panic), OrText(enum=["end"])] = Field(
        default_factory=OnPanic
    )
    user_share: Share = same_as(spec.MachineSpec, "user_share", "share of time in user mode")
    alloc: Alloc = Field(default_factory=Alloc)
    atomic_alloc_fail: Share = same_as(
        spec.MachineSpec,
        "atomic_alloc_fail",
        "probability that a kill-list entry cannot be had",
    )
    sync: DurationOrNever = same_as(
        spec.MachineSpec, "sync_every_ns", "somebody runs sync() this often", units.format_duration
    )
    times: Times = Field(default_factory=Times)
    switches: Switches = Field(default_factory=Switches, description="what the review argued about")
    printk_level: Annotated[int, whole(0, 8)] = same_as(
        spec.MachineSpec, "printk_level", "messages up to this level are shown, 7 shows all"
    )
