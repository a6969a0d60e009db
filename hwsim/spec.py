"""The model's input: plain frozen dataclasses, already in integers, ready to run.

A scenario file is checked and compiled to one :class:`Spec` by ``hwsim.scenario``; the model reads
nothing else.  Times are integer nanoseconds, sizes are 4 KiB pages, rates are events per second
(float), probabilities and shares are floats in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from hwsim.elementary import exp, log1p, normal_quantile

MAX_CPUS = 4096  # NR_CPUS of x86, at most (arch/x86/Kconfig)


@dataclass(frozen=True, slots=True)
class Delay:
    """A random duration in ns: with probability ``chance`` drawn from ``kind``, otherwise zero.

    ``kind`` and its parameters: ``constant`` (mean_ns), ``exponential`` (mean_ns), ``uniform``
    (low_ns .. high_ns), ``lognormal`` (mean_ns is the median, ``sigma`` the log standard
    deviation).  Every draw uses exactly one uniform (inverse CDF), so that paired runs stay paired.
    """

    kind: str = "constant"
    mean_ns: int = 0
    low_ns: int = 0
    high_ns: int = 0
    sigma: float = 0.0
    chance: float = 1.0

    def draw(self, u: float) -> int:
        """The duration in ns that belongs to the uniform ``u`` in (0, 1)."""
        if self.kind == "constant" and self.chance >= 1.0:
            return self.mean_ns
        if u >= self.chance:
            return 0
        u /= self.chance
        if self.kind == "constant":
            return self.mean_ns
        if self.kind == "exponential":
            return int(-self.mean_ns * log1p(-u))
        if self.kind == "uniform":
            return int(self.low_ns + (self.high_ns - self.low_ns) * u)
        if self.kind == "lognormal":
            return int(self.mean_ns * exp(self.sigma * normal_quantile(u)))
        raise ValueError(f"unknown distribution {self.kind!r}")

    def without_chance(self) -> Delay:
        """Always its median; a delay that need not happen does not."""
        return Delay(mean_ns=0 if self.chance < 1.0 else self.draw(0.5))


@dataclass(frozen=True, slots=True)
class Touch:
    """A band of a region's pages and how often each mapping task touches each page of it.

    Bands follow one another by page index: a band with share 0.1 is the first tenth.  Rates are per
    page and per task that maps it; zero means "never again after start".
    """

    share: float
    load_per_s: float = 0.0
    store_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SwapCycle:
    """The cycle of an anonymous frame through the swap cache, as shares of time and a turnover.

    ``period_ns`` is the mean time of one full round: plain -> dirty in swap cache and mapped ->
    dirty, unmapped -> clean, unmapped -> (freed and filled again by a swap-in) clean, mapped ->
    plain.  The four shares say which part of the round is spent in each swap-cache state; the rest
    is plain.  Residence times are exponential.
    """

    period_ns: int
    dirty_mapped: float = 0.0
    dirty_unmapped: float = 0.0
    clean_unmapped: float = 0.0
    clean_mapped: float = 0.0


@dataclass(frozen=True, slots=True)
class RegionSpec:
    """A piece of a task's address space.

    kind ``anon``: private memory of each task of the group (with forked children: shared
    copy-on-write with them).  ``shm``: one tmpfs segment mapped by every task of the group.
    ``file``: maps the first ``pages`` cached pages of file ``file`` (shared mapping; the frames
    belong to the file).  ``hugetlb``: huge pages of ``huge_order``.
    """

    name: str
    kind: str
    pages: int
    touch: tuple[Touch, ...] = (Touch(1.0),)
    file: str | None = None
    shared: bool = False
    mlock: bool = False
    populate: bool = True  # every page is written once at start; False: appears at its first touch
    lines_per_touch: float = 1.0  # distinct 64-byte lines that one touch reads or writes
    full_line: float = 0.1  # share of stores that overwrite whole lines without reading them
    swap: SwapCycle | None = None
    pagevec: float = 0.0  # probability that a page still sits in some CPU's pagevec
    huge_order: int = 9
    huge_free: float = 0.0  # share of the huge pages that are free in the pool (count 0)
    unmap_fail: float = 0.0  # probability that one try_to_unmap try fails (races with remap)


@dataclass(frozen=True, slots=True)
class SigbusSpec:
    """What a task does with SIGBUS: per code ``default``, ``ignored``, ``blocked``, ``remap``,
    ``exit``, ``return`` (the handler returns and the task touches the page again) or ``touch``.

    ``remap`` drops the poisoned page and maps a fresh one; ``exit`` leaves in an orderly way; a handler
    that does ``touch`` the page, to save what it can, dies of it.
    """

    on_ao: str = "default"
    on_ar: str = "default"
    unblock_ns: int | None = None  # blocked only: SIGBUS is unblocked this long after it is sent


@dataclass(frozen=True, slots=True)
class FsyncSpec:
    """A file that each task of the group keeps open, and asks about: phases are random per task.

    ``call``: fsync, fdatasync, msync, o_sync (a write to a file opened with O_SYNC) or
    sync_file_range; all write back and ask for errors.  ``reopen_ns``: the task opens
    the file this often, and has it open for ``open_share`` of the time.  ``checks`` False: the task throws
    the return value away.
    """

    file: str
    every_ns: int
    call: str = "fsync"
    reopen_ns: int | None = None
    open_share: float = 1.0
    checks: bool = True


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A group of ``count`` like tasks, each with ``children`` forked workers.

    ``group_death``: one death takes the whole group down and the supervisor starts it again as one.
    ``restart_ns`` None: the dead stay dead.
    """

    name: str
    count: int = 1
    children: int = 0
    regions: tuple[RegionSpec, ...] = ()
    sigbus: SigbusSpec = SigbusSpec()
    group_death: bool = False
    restart_ns: int | None = None
    fsync: FsyncSpec | None = None
    mce_kill: str = "default"  # prctl(PR_MCE_KILL): early | late | default
    lifetime_ns: int | None = None  # mean of an exponential life time; None: runs for ever


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file (or block device, or metadata) with ``pages`` pages in the page cache.

    ``filesystem``: ext2, ext3, ext4, xfs, nfs (dirty accounting), ramfs, tmpfs (none, swap-backed
    for tmpfs), blockdev.  ``touch`` is read() and write() by system call, per page.
    ``flush_every_ns`` is the age at which the flusher writes this file's dirty pages back, in place of
    vm.dirty_expire_centisecs (None); 0 is never.  ``writers``: the groups whose tasks make
    the write() calls; without any, those that ask for errors with fsync.  ``evict_per_s``: how often
    the inode is thrown out of memory while nobody has the file open, with the error it remembers.
    """

    name: str
    pages: int
    filesystem: str = "ext4"
    touch: tuple[Touch, ...] = (Touch(1.0),)
    flush_every_ns: int | None = None
    buffers: str = "none"  # none | idle | busy: what is attached to the pages (page private data)
    buffers_busy: float = 0.0  # with buffers = "idle": probability that they are busy when looked at
    turnover_per_s: float = 0.0  # per page: reclaimed and filled again from disk
    pagevec: float = 0.0
    lines_per_touch: float = 64.0  # read() and write() of a whole page touch every line
    truncate_per_s: float = 0.0  # whole file truncated and written anew (log rotation)
    writers: tuple[str, ...] = ()
    evict_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class KernelPoolSpec:
    """Pages the kernel owns.  ``kind``: one of ``POOLS`` in ``memory/kinds``.  ``order``: pages of an
    allocation as a power of two.  ``load_per_s``: kernel reads per page.  ``lifetime_ns``: mean time until
    an allocation is freed (None: never)."""

    kind: str
    pages: int
    order: int = 0
    load_per_s: float = 0.0
    store_per_s: float = 0.0
    lifetime_ns: int | None = None
    full_line: float = 0.1


@dataclass(frozen=True, slots=True)
class Place:
    """Where errors fall.  kind: ``uniform`` (all memory of the machine), ``region`` (name of a
    task region ``task/region``, file ``file:NAME`` or pool ``kernel:KIND`` or ``free``), ``kind``
    (a kind of page, one of ``KINDS`` in ``memory/kinds``), ``pfns`` (a list)."""

    kind: str = "uniform"
    name: str = ""
    pfns: tuple[int, ...] = ()


FEW_LINES = 512  # up to so many lines of a fault are single ones from the start; more are a set


@dataclass(frozen=True, slots=True)
class DramSpec:
    """The machine's DIMMs, and how their faults come, show and are repaired.

    ``geometry`` names a preset of :mod:`hwsim.hardware.dram.dimms`, ``own`` the counts that are not the
    preset's.
    ``rates``: (mode, transient FIT, permanent FIT, P(UE | fault) or None), FIT of a chip, or of a channel.
    ``frailty``: log standard deviation of a machine's own factor on all rates, whose mean is 1.
    ``intermittent``: share of the permanent faults that show in windows only, exponential, with means
    ``on_ns`` and ``off_ns``.  ``show``: the median chance that a read of a line with a fault that stays
    meets wrong bits (what is stored may agree with a stuck cell), ``show_sigma`` its log standard
    deviation.  ``max_lines``: at most so many lines of one fault go bad, at random; None: all of them.
    ``row_sparing``: corrected errors after which a spare row takes over; ``ppr``: rows are repaired at each
    boot.
    """

    geometry: str
    own: tuple[tuple[str, int], ...] = ()
    rates: tuple[tuple[str, float, float, float | None], ...] = ()
    ecc: str = "secded"
    on_die: bool = False
    mirror: bool = False
    frailty: float = 1.0
    intermittent: float = 0.0
    on_ns: int = 3_600_000_000_000
    off_ns: int = 86_400_000_000_000
    show: float = 0.001
    show_sigma: float = 2.4
    max_lines: int | None = None
    row_sparing: int | None = None
    ppr: bool = False


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """A stream of errors between start and end: a Poisson process, or ``count`` at uniform random times.

    ``rate_per_s`` is per machine (a rate per GiB is multiplied out before), and not used with a count.
    ``burst_pages`` neighbouring pages go bad at once, one line in each, each an error of its own.  With
    ``dram`` the stream is one of DRAM faults, and what of them no ECC corrects are the errors; then where
    they fall and whether they are permanent is the fault's.  ``field_per_s``: what the field reports for one
    machine, for those who ask what the answer means for a year; the model does not read it.
    """

    rate_per_s: float = 0.0
    where: Place = Place()
    permanent: float = 0.5
    burst_pages: int = 1
    start_ns: int = 0
    end_ns: int | None = None
    dram: DramSpec | None = None
    count: int | None = None
    field_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class ScrubSpec:
    """The patrol scrubber: one sweep over all memory each period, and how a find is signalled:
    ``SRAO``, ``UCNA``, ``fatal`` or ``none`` (not signalled)."""

    period_ns: int | None = 86_400_000_000_000  # None: no patrol scrub
    signals: str = "SRAO"


@dataclass(frozen=True, slots=True)
class CorrectedSpec:
    """How corrected errors reach the kernel, and then somebody.

    ``signals``: ``CMCI`` or ``poll``.  ``storms``: a storm turns CMCI off for a while, as since Linux 6.7.
    ``mcelog_ns``: how often a program empties /dev/mcelog; 0: at once.
    """

    signals: str = "CMCI"
    storms: bool = False
    mcelog_ns: int = 0


@dataclass(frozen=True, slots=True)
class TimesSpec:
    """How long things take; each a distribution.  No measurement of these was found in print; the
    defaults are assumptions, listed in docs/keys.md, and every one is a scenario key."""

    rendezvous: Delay = Delay("lognormal", mean_ns=100_000, sigma=0.5)
    return_to_user: Delay = Delay("exponential", mean_ns=2_000)
    workqueue: Delay = Delay("exponential", mean_ns=50_000)
    lock_wait: Delay = Delay("exponential", mean_ns=5_000_000, chance=0.01)
    writeback: Delay = Delay("exponential", mean_ns=8_000_000)
    reread: Delay = Delay("exponential", mean_ns=5_000_000)
    rmap_per_vma: Delay = Delay("constant", mean_ns=200)  # per process x VMA of the walk
    unmap: Delay = Delay("constant", mean_ns=5_000)
    page_handler: Delay = Delay("lognormal", mean_ns=20_000, sigma=0.5)  # the row's handler
    signal_delivery: Delay = Delay("exponential", mean_ns=50_000)
    sigbus_handler: Delay = Delay("lognormal", mean_ns=1_000_000, sigma=0.5)


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """One machine.  ``hidden_pages`` is memory fitted and scrubbed but without struct pages."""

    memory_pages: int
    cpus: int = 4
    kernel: str = "v5"
    early_kill: int | None = None  # None: the profile's default
    recovery: int | None = None  # vm.memory_failure_recovery; None: the profile's default
    tolerant: int = 1
    hidden_pages: int = 0
    unevictable_lru: bool = True
    mlocked_page_bit: bool = True
    pageflags_extended: bool = True
    switches: tuple[tuple[str, str | float], ...] = ()  # set otherwise than the kernel has them
    scrub: ScrubSpec = ScrubSpec()
    device_read: str = "UCNA"  # what DMA of a bad line does: UCNA | fatal | silent
    corrected: CorrectedSpec = CorrectedSpec()
    reboot_ns: int | None = 300_000_000_000  # None: the run ends at a panic
    repair_share: float = 1.0  # probability that the memory that caused a panic is replaced at the reboot
    user_share: float = 0.6  # probability that the interrupted CPU was in user mode
    alloc_per_s: float = 0.0  # page allocations from the free lists of the whole machine
    alloc_order: int = 0  # order of those allocations
    atomic_alloc_fail: float = 0.0  # probability that an entry of the kill list cannot be allocated
    sync_every_ns: int | None = None  # somebody runs sync() this often; None: nobody
    dirty_writeback_ns: int = 5_000_000_000  # vm.dirty_writeback_centisecs; 0: no flusher at all
    dirty_expire_ns: int = 30_000_000_000  # vm.dirty_expire_centisecs
    times: TimesSpec = TimesSpec()
    printk_level: int = 7  # messages up to this level are shown; 7 shows all
    chance: bool = True  # False: see without_chance()


Arguments = dict[str, Any]  # of a step, by name: TOML values
DEFAULT_FD = "fd"  # the descriptor of a file that a step means when it names none


@dataclass(frozen=True, slots=True)
class ScriptStep:
    """One exact step: at ``at_ns`` do ``verb`` with ``args`` (validated, TOML types)."""

    at_ns: int
    verb: str
    args: Arguments = field(default_factory=dict)
    where: str = ""  # for messages: 'script[3]'


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything one study cell needs; ``run_replication(spec, index)`` is pure in it."""

    name: str
    horizon_ns: int
    seed: int
    repeat: int
    machine: MachineSpec
    errors: tuple[ErrorSpec, ...] = ()
    files: tuple[FileSpec, ...] = ()
    tasks: tuple[TaskSpec, ...] = ()
    pools: tuple[KernelPoolSpec, ...] = ()
    script: tuple[ScriptStep, ...] = ()


def without_chance(spec: Spec) -> Spec:
    """The same machine and script with nothing left to chance, so that all replications are equal.

    Nothing acts by itself at a random moment: no errors, no patrol scrub, no flusher, no swap cycle.
    Times are their medians, and what is drawn all the same is answered by :class:`hwsim.rng.NoChance`.
    """
    times = {each.name: getattr(spec.machine.times, each.name).without_chance() for each in fields(TimesSpec)}
    scrub = replace(spec.machine.scrub, period_ns=None)
    tasks = tuple(
        replace(task, regions=tuple(replace(region, swap=None) for region in task.regions))
        for task in spec.tasks
    )
    return replace(
        spec,
        machine=replace(spec.machine, chance=False, scrub=scrub, times=TimesSpec(**times)),
        errors=(),
        files=tuple(replace(file, flush_every_ns=0) for file in spec.files),
        tasks=tasks,
    )
