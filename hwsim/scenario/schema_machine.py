"""The ``[machine]`` table of a scenario file."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, create_model

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
    meaning,
    number,
    refuse,
    whole,
)
from hwsim.scenario.keys import Model, OrText, key

_CENTISECS: Final = whole(0, 1_000_000, "hundredths of a second", times=units.CENTISEC_NS)
DISTRIBUTIONS: Final[dict[str, tuple[str, ...]]] = {  # kind -> keys it needs
    "constant": ("mean",),
    "exponential": ("mean",),
    "uniform": ("low", "high"),
    "lognormal": ("mean", "sigma"),
}


class Delay(Model, fills=spec.Delay):
    """A random duration."""

    kind: Annotated[str, choice(*DISTRIBUTIONS)] = key("the distribution", default=...)
    mean_ns: Duration = key("its mean, of a lognormal its median; needed but by uniform", "mean")
    low_ns: Duration = key("of uniform, which needs it: the shortest", "low")
    high_ns: Duration = key("of uniform, which needs it: the longest", "high")
    sigma: Annotated[float, number(0, 10)] = key(
        "of lognormal, which needs it: standard deviation of the logarithm"
    )
    chance: Share = key("probability that it takes any time at all")


def _constant(value: object) -> object:
    return {"kind": "constant", "mean": value} if isinstance(value, str) else value


_IN_TIME = OrText(_constant, "a duration", examples=["2 ms"], pattern=f"^{units.DURATION_FORM}$")
AnyDelay = Annotated[Delay, _IN_TIME]


class Times(Model, fills=spec.TimesSpec):
    """How long things take, each a duration or a distribution.

    We found no published measurement of any of these: they are assumptions, and results that hang on them
    should be checked by varying them.  Only the bound of the rendezvous, 1 s, is the kernel's (2.6.32,
    arch/x86/kernel/cpu/mcheck/mce.c).
    """

    rendezvous: AnyDelay = key("all CPUs meet after a broadcast machine check")
    return_to_user: AnyDelay = key("from the interrupt until the interrupted task returns to user space")
    workqueue: AnyDelay = key("until the workqueue runs memory_failure() for the page frame number")
    lock_wait: AnyDelay = key("the page lock is held by somebody else")
    writeback: AnyDelay = key("what is left of a running writeback of one page")
    reread: AnyDelay = key("a dropped page is read again from disk or swap")
    rmap_per_vma: AnyDelay = key("reverse-map walk, for each process and VMA")
    unmap: AnyDelay = key("one try to unmap the page")
    page_handler: AnyDelay = key("the handler of the matching row of the error-state table")
    signal_delivery: AnyDelay = key("from sending a signal to the task acting on it")
    sigbus_handler: AnyDelay = key("a task's own SIGBUS handler")


class Sysctl(Model, fills=spec.MachineSpec):
    """Kernel settings under their own names; default: what the kernel has."""

    early_kill: Annotated[int, whole(0, 1)] | None = key(
        "1: tasks are told at once; 0: when they touch the page; default: the kernel's own, as hwsim kernels "
        "has it (mm/memory-failure.c)",
        "vm.memory_failure_early_kill",
    )
    recovery: Annotated[int, whole(0, 1)] | None = key(
        "0: memory_failure() panics; default: 1, in kernels that have it (2.6.32, mm/memory-failure.c)",
        "vm.memory_failure_recovery",
    )
    dirty_expire_ns: Annotated[int, _CENTISECS] = key(
        "age at which the flusher writes a dirty file; 0: at its next wake (2.6.32, mm/page-writeback.c)",
        "vm.dirty_expire_centisecs",
    )
    dirty_writeback_ns: Annotated[int, _CENTISECS] = key(
        "how often the flusher wakes; 0: never (2.6.32, mm/page-writeback.c)",
        "vm.dirty_writeback_centisecs",
    )


def _switch(switch: Switch) -> tuple[Any, Any]:
    kind = Annotated[str, choice(*switch.allowed)] if switch.allowed else Share
    return (kind | None, Field(None, description=f"{switch.effect} ({switch.source})"))


# One key for each switch of the model: default is what the kernel profile says.
_FIELDS: dict[str, Any] = {each.name: _switch(each) for each in SWITCHES}
Switches: Any = create_model(
    "Switches",
    __base__=Model,
    __doc__="What the review of v5 argued about, each set otherwise than the kernel has it.",
    **_FIELDS,
)


class Config(Model, fills=spec.MachineSpec):
    """Kernel build switches that add or remove page flags and rows of the error-state table."""

    unevictable_lru: Flag = key(
        "pages that cannot be reclaimed have a flag and a list of their own (2.6.30, mm/Kconfig)",
        "UNEVICTABLE_LRU",
    )
    mlocked_page_bit: Flag = key("locked pages have a flag (2.6.30, mm/Kconfig)", "HAVE_MLOCKED_PAGE_BIT")
    pageflags_extended: Flag = key(
        "head and tail of a compound page have a flag each; false: one for both (2.6.30, mm/Kconfig)",
        "PAGEFLAGS_EXTENDED",
    )


class Scrub(Model, fills=spec.ScrubSpec):
    """The patrol scrubber."""

    period_ns: DurationOrNever = key(
        "time of one sweep over all memory; one a day is the order of the Intel SE8500HW4 board "
        "specification: a line each 16 k core cycles, about 64 GB a day",
        "period",
    )
    signals: Annotated[str, choice("SRAO", "UCNA", "fatal", "none")] = key(
        "how a find is reported, a fact of the platform: SRAO and the kernel handles the page, UCNA is only "
        "logged, fatal panics, none tells nobody"
    )


class Corrected(Model, fills=spec.CorrectedSpec):
    """How corrected errors of DRAM faults get into a log."""

    signals: Annotated[str, choice("CMCI", "poll")] = key(
        "an interrupt for each error, or the timer that polls the banks; until it polls a record may wait in "
        "its bank, and a scrubber's find on top of it is lost"
    )
    storms: Flag = key("a storm turns CMCI off for a while, as since Linux 6.7")
    mcelog_ns: Duration = key(
        "how often a program empties /dev/mcelog, which holds 32 records (2.6.32, "
        "arch/x86/include/asm/mce.h); 0 s: at once",
        "mcelog",
    )


class OnPanic(Model, fills=spec.MachineSpec):
    """What follows a panic."""

    reboot_ns: DurationOrNever = key(
        "time until the machine works again; never: the run ends; the kernel alone waits 30 s (2.6.32, "
        "arch/x86/kernel/cpu/mcheck/mce.c)",
        "reboot",
    )
    repair_share: Share = key("probability that the memory at fault is replaced; assumption", "repair")


class Alloc(Model, fills=spec.MachineSpec):
    """Page allocations from the free lists: how the allocator meets a poisoned free page."""

    alloc_per_s: RatePerS = key("allocations of the whole machine", "rate")
    alloc_order: Annotated[int, whole(0, MAX_ORDER, "(a power of two)")] = key("pages of one", "order")


def _panic(value: object) -> object:
    if value == "end":
        return {"reboot": "never"}
    if not isinstance(value, dict):
        raise refuse("not a table", '"end" or { reboot = "5 min" }')
    return value


class Machine(Model, fills=spec.MachineSpec):
    """The machine and its kernel."""

    chance: Annotated[bool, meaning({"on": True, "off": False})] = key(
        "off, for exact scripts: no flusher, swap cycle, patrol scrub or errors but the script's; every time "
        "is its median, a probability below 1 is 0, of several the first is taken (CPU 0), and a frame keeps "
        "its place over a reboot: every replication is the same, and numbers are exact, without intervals"
    )
    memory_pages: PositivePages = key("memory that the kernel manages: each page has a struct page", "memory")
    cpus: Annotated[int, whole(1, spec.MAX_CPUS, "CPUs")] = key("one pagevec and one machine-check ring each")
    kernel: Annotated[str, choice(*KERNELS)] = key(
        "whose error handling: hwsim kernels puts two of them side by side"
    )
    sysctl: Sysctl = key("kernel settings under their own names", default_factory=Sysctl)
    config: Config = key("build switches of the kernel", default_factory=Config)
    tolerant: Annotated[int, whole(0, 3, "(a level)")] = key(
        "what a machine check may leave running: 0 panics too when the CPUs do not meet in time, 3 never "
        "panics (2.6.32, arch/x86/kernel/cpu/mcheck/mce.c)"
    )
    hidden_pages: Pages = key(
        'memory that is fitted and scrubbed but unknown to the kernel ("memory outside kernel control")',
        "hidden",
    )
    scrub: Scrub = key("the patrol scrubber", default_factory=Scrub)
    device_read: Annotated[str, choice("UCNA", "fatal", "silent")] = key(
        "what a device's read of a bad line does: UCNA is only logged, fatal panics, silent tells nobody"
    )
    corrected: Corrected = key("how corrected errors get into a log", default_factory=Corrected)
    on_panic: Annotated[OnPanic, OrText(_panic, '"end"', enum=["end"])] = key(
        'what follows a panic; "end": the run ends there', default_factory=OnPanic
    )
    user_share: Share = key(
        "probability that the interrupted CPU was in user mode, where the handler runs at the return to user "
        "space; assumption"
    )
    alloc: Alloc = key("page allocations from the free lists", default_factory=Alloc)
    atomic_alloc_fail: Share = key("probability that an entry of the kill list cannot be allocated")
    sync_every_ns: DurationOrNever = key(
        "somebody runs sync() this often, its phase random: it writes back and throws errors away", "sync"
    )
    times: Times = key("how long things take", default_factory=Times)
    switches: Switches = key("what the review argued about", default_factory=Switches)
    printk_level: Annotated[int, whole(0, 8, "(a level)")] = key(
        "messages of the kernel log up to this level are shown; 7 shows all (include/linux/kernel.h)"
    )

    @property
    def fitted_pages(self) -> int:
        """All memory that can go bad."""
        return self.memory_pages + self.hidden_pages
