"""A second, independent transcription of the HWPOISON v5 handler with the points of its review switched.

Sources: "[PATCH] [13/16] HWPOISON: The high level memory error handler in the VM v5", Message-ID
20090603184648.2E2131D028F@basil.firstfloor.org, with patches 8 to 12 of that series; Wu Fengguang's review
of it, 20090604032441.GC5740@localhost, and Andi Kleen's answer, 20090604051346.GM1065@one.firstfloor.org; the
three early kill schemes, 20090622092754.GC8110@localhost; the mapped-only walk,
20090615031254.434000201@intel.com; the question of free pages, 20090609134903.GC6583@localhost; and
mm/memory-failure.c, mm/truncate.c, mm/vmscan.c, fs/buffer.c and fs/block_dev.c of Linux 2.6.32 to 2.6.39.

Like oracle_v5 it takes one page and gives what is said and done about it, without time, locks or simulator.
The page's description and the table are oracle_v5's; the control flow is read from the sources once more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tests.oracles.oracle_v5 import (
    DEBUG,
    DELAYED,
    ERR,
    FAILED,
    IDLE,
    IGNORED,
    INFO,
    KERNEL_FLAGS,
    RECOVERED,
    SWAP_AGAIN,
    UNMAP_TRIES,
    Line,
    Mapper,
    PageCase,
    Pte,
    Row,
    contradictions,
    existing,
    find_row,
)

Exit = Literal["outside", "already", "free_or_high_order", "free_buddy", "already_unmapped", "table"]


@dataclass(frozen=True)
class Switches:
    """One field for each point; the default is what v5 does."""

    blockdev_test: Literal["count_gt_1", "count_gt_2", "release_buffers", "fs_hook"] = "count_gt_1"
    pagecache_policy: Literal["truncate", "keep_poisoned"] = "truncate"
    eio_mode: Literal["as_flag", "errseq", "sticky", "sticky_until_last_close", "keep_page"] = "as_flag"
    collect_anon: Literal["anon_vma_wide", "mapped_only"] = "anon_vma_wide"
    free_page_policy: Literal["gatekeeper", "take_off_buddy"] = "gatekeeper"
    early_kill_scheme: Literal["sysctl", "prctl", "has_handler"] = "sysctl"
    unmap_retry_level: Literal["debug", "err"] = "debug"
    null_mapping_message: Literal[
        "already unmapped LRU", "already truncated LRU", "NULL mapping LRU", "already truncated page"
    ] = "already unmapped LRU"
    result_order: Literal["as_printed", "as_meant"] = "as_printed"
    anon_test: Literal["kept", "dropped"] = "kept"

    @property
    def keeps_poisoned(self) -> bool:
        """A page kept as its own error marker has to be kept."""
        return self.pagecache_policy == "keep_poisoned" or self.eio_mode == "keep_page"


@dataclass(frozen=True)
class TaskPolicy:
    """What a process has said about memory errors: by prctl, and by catching SIGBUS."""

    mce_kill: Literal["default", "early", "late"] = "default"
    catches: bool = False


@dataclass(frozen=True)
class SwitchCase:
    """A page, the switches, and the processes' policies by mapper name."""

    case: PageCase
    switches: Switches = field(default_factory=Switches)
    policies: dict[str, TaskPolicy] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """The fields of oracle_v5.Decision; only `exit` knows one word more."""

    exit: Exit
    row: int
    message: str
    handler: str
    outcome: str
    log: tuple[Line, ...]
    signals: tuple[tuple[int, str, str], ...]
    ptes: dict[str, Pte]
    users: int
    bad_pages_delta: int
    hwpoison: bool
    ref_kept: bool
    flags_after: frozenset[str]
    as_eio: bool
    in_page_cache: bool
    in_swap_cache: bool
    data_lost: bool


class _Run:
    """One call of memory_failure()."""

    def __init__(self, switch_case: SwitchCase) -> None:
        self.case = case = switch_case.case
        self.switches = switch_case.switches
        self.policies = switch_case.policies
        # Without a struct page there are no flags.
        self.flags = set(existing(case.flags, case.config)) if case.valid else set()
        self.count = case.held
        self.buffers = case.private
        self.ptes: dict[str, Pte] = {m.name: "present" if m.mapped else "none" for m in case.mappers}
        self.in_page_cache = case.mapping is not None and case.mapping != "swapper"
        self.log: list[Line] = []
        self.signals: list[tuple[int, str, str]] = []
        self.as_eio = self.data_lost = False
        self.prefix = f"MCE {case.pfn:#x}"

    def say(self, level: int, text: str) -> None:
        self.log.append((level, f"{self.prefix}: {text}"))

    @property
    def mapped(self) -> list[Mapper]:
        return [m for m in self.case.mappers if self.ptes[m.name] == "present"]

    def unmap(self, leave: Pte) -> None:
        for mapper in self.mapped:
            self.ptes[mapper.name] = leave
            self.count -= 1

    # Before the table: mappings and processes.

    def wants_early_kill(self, mapper: Mapper) -> bool:
        """Asked per task. When it is the sysctl that says no, v5 does not even walk: nothing is visible."""
        sysctl = bool(self.case.early_kill)
        policy = self.policies.get(mapper.name, TaskPolicy())
        match self.switches.early_kill_scheme:
            case "sysctl":
                return sysctl
            case "prctl":
                return sysctl if policy.mce_kill == "default" else policy.mce_kill == "early"
            case "has_handler":
                return policy.catches

    def vmas_to_collect(self, mapper: Mapper) -> int:
        if not mapper.shares or not self.wants_early_kill(mapper):
            return 0
        if self.case.anon and self.switches.collect_anon == "mapped_only":
            return min(mapper.vmas, int(mapper.mapped))  # its one PTE lies in one of its VMAs
        return mapper.vmas

    def collect(self) -> list[Mapper]:
        """The kill list, one entry for each VMA. The entry allocated beforehand goes to the first."""
        victims: list[Mapper] = []
        spare = not self.case.preallocation_fails
        for mapper in self.case.mappers:
            for _ in range(self.vmas_to_collect(mapper)):
                if not spare and mapper.pid in self.case.further_allocation_fails:
                    self.log.append((ERR, "MCE: Out of memory while machine check handling"))
                    continue
                spare = False
                if not mapper.address_found:
                    where = f"{self.case.pfn:x} in {mapper.name}"
                    self.log.append((DEBUG, f"MCE: Unable to find user space address {where}"))
                victims.append(mapper)
        return victims

    def needs_clean_check(self) -> bool:
        """Only disk-backed mappings account dirty pages, and no anonymous page has one of these."""
        if "dirty" in self.flags or self.case.mapping not in ("file", "blockdev"):
            return False
        if self.switches.anon_test == "dropped":
            return True
        return not self.case.anon and "swapbacked" not in self.flags

    def user_mappings(self) -> None:
        case = self.case
        if self.flags & set(KERNEL_FLAGS):
            return
        if case.pagevec == "local" and "lru" not in self.flags:
            self.flags.add("lru")  # draining this CPU's pagevecs moves the page and drops their reference
            self.count -= 1
        if not self.mapped:
            return
        was_clean = False
        if swapcache := "swapcache" in self.flags:
            self.say(ERR, "keeping poisoned page in swap cache")
        if self.needs_clean_check():
            was_clean = not any(m.pte_dirty or m.writable for m in self.mapped)
            if was_clean:
                self.say(INFO, "corrupted page was clean: dropped without side effects")
            else:
                self.flags.add("dirty")
        victims = [] if was_clean else self.collect()  # before the unmap, which tears the rmap down
        retry_level = ERR if self.switches.unmap_retry_level == "err" else DEBUG
        for _ in range(min(case.unmap_failures, UNMAP_TRIES)):
            self.say(retry_level, f"try_to_unmap retry needed {SWAP_AGAIN}")
        unmapped = case.unmap_failures < UNMAP_TRIES
        if unmapped:
            if any(m.pte_dirty for m in self.mapped):
                self.flags.add("dirty")
            if swapcache or was_clean:
                self.unmap("swap" if case.anon else "none")
            else:
                self.unmap("poison")
        if "dirty" in self.flags:
            self.kill(victims, unmapped)

    def kill(self, victims: list[Mapper], unmapped: bool) -> None:
        for victim in victims:
            who = f"{victim.name}:{victim.pid}"
            if unmapped and victim.address_found:
                self.say(ERR, f"Killing {who} early due to hardware memory corruption")
                self.signals.append((victim.pid, "SIGBUS", "BUS_MCEERR_AO"))
            else:
                self.say(ERR, f"forcibly killing {who} because of failure to unmap corrupted page")
                self.signals.append((victim.pid, "SIGKILL", ""))

    # The handlers.

    def release_buffers(self) -> bool:
        """No private data counts as released. What has been freed is not attached again."""
        if self.buffers == "idle":
            self.buffers = None
            self.count -= 1
        return self.buffers is None

    def buffers_remain(self) -> str:
        self.log.append((DEBUG, f"<3>{self.prefix}: failed to release buffers"))  # a second level marker
        return FAILED

    def invalidate(self) -> bool:
        """The safe invalidate of 2.6.32. Writeback has been waited for long before."""
        if "dirty" in self.flags or self.mapped or not self.release_buffers():
            return False
        self.flags.discard("mlocked")  # like the buffers gone for good, although the last test is to come
        if self.count != 2:  # page cache and memory_failure: the count is frozen at exactly two
            return False
        self.count -= 1
        self.in_page_cache = False
        return True

    def truncate(self) -> str:
        self.data_lost = "dirty" in self.flags or any(m.pte_dirty for m in self.mapped)
        self.unmap("none")
        released = self.release_buffers()
        self.flags -= {"dirty", "mlocked"}
        self.in_page_cache = False
        self.count -= 1
        return RECOVERED if released else self.buffers_remain()

    def blockdev(self) -> str:
        match self.switches.blockdev_test:
            case "release_buffers":
                # Buffers of a dirty page are dirty, and drop_buffers() in fs/buffer.c keeps dirty ones.
                dirty_buffers = self.buffers == "idle" and "dirty" in self.flags
                if dirty_buffers or not self.release_buffers():
                    return self.buffers_remain()
            case "fs_hook":
                if self.invalidate():
                    return RECOVERED
                self.say(INFO, "Failed to invalidate")
                return FAILED
            case "count_gt_1" | "count_gt_2" as test:
                if self.count > (1 if test == "count_gt_1" else 2):
                    self.say(ERR, "page looks like a unsupported file system metadata page")
                    return FAILED
        return self.truncate()

    def pagecache(self, dirty: bool) -> str:
        mapping = self.case.mapping
        self.as_eio = dirty and mapping is not None  # before anything can refuse the page
        self.flags.discard("lru")  # isolate and release: neutral for the count
        if mapping is None:
            self.data_lost = self.case.anon
            return RECOVERED
        if mapping == "blockdev":
            return self.blockdev()
        if dirty and self.switches.keeps_poisoned:
            self.flags.discard("dirty")  # never written: what the disk has is old
            self.data_lost = True
            return RECOVERED
        return self.truncate()

    def handle(self, handler: str) -> str:
        match handler:
            case "me_pagecache_dirty" | "me_pagecache_clean":
                return self.pagecache(dirty=handler == "me_pagecache_dirty")
            case "me_swapcache_dirty":
                self.flags -= {"dirty", "lru"}
                self.data_lost = True
                return DELAYED
            case "me_swapcache_clean":
                self.flags -= {"swapcache", "lru"}
                self.count -= 1
                self.data_lost = bool(self.mapped)  # no swap entry leads a mapper to the copy on disk
                return RECOVERED
            case "me_unknown":
                self.say(ERR, "Unknown page state")
                return FAILED
        return IDLE[handler]

    # The exits.

    def result(self, exit_: Exit, message: str, outcome: str = IGNORED, row: Row | None = None) -> Decision:
        dirty = "dirty " if "dirty" in self.flags else ""  # as the handler left it
        if self.switches.result_order == "as_meant":
            self.say(ERR, f"{dirty}{message} page recovery: {outcome}")
        else:
            self.say(ERR, f"{dirty} page recovery: {message}{outcome}")
        users = self.count - 1 if row else 0
        if users:
            self.say(ERR, f"{message} page still referenced by {users} users")
        return Decision(
            exit=exit_,
            row=row.number if row else 0,
            message=message,
            handler=row.handler if row else "",
            outcome=outcome,
            log=tuple(self.log),
            signals=tuple(self.signals),
            ptes=self.ptes,
            users=users,
            bad_pages_delta=1 if row else 0,  # v5 counts in page_action and nowhere else
            hwpoison=self.case.valid,
            ref_kept=exit_ in ("already_unmapped", "table"),
            flags_after=frozenset(self.flags),
            as_eio=self.as_eio,
            in_page_cache=self.in_page_cache,
            in_swap_cache="swapcache" in self.flags,
            data_lost=self.data_lost,
        )

    def memory_failure(self) -> Decision:
        case = self.case
        if not case.valid:
            return self.result("outside", "memory outside kernel control")
        if case.hwpoison:
            return self.result("already", "already hardware poisoned")
        if self.count == 0:
            if self.switches.free_page_policy == "take_off_buddy" and "buddy" in self.flags:
                self.flags.discard("buddy")
                return self.result("free_buddy", "free buddy", RECOVERED)
            return self.result("free_or_high_order", "free or high order kernel")
        self.count += 1
        self.user_mappings()
        null_mapping = case.mapping is None and not case.anon  # an anonymous page points to its anon_vma
        if null_mapping and "lru" in self.flags and "swapcache" not in self.flags:
            return self.result("already_unmapped", self.switches.null_mapping_message)
        row = find_row(frozenset(self.flags), case.config)
        return self.result("table", row.message, self.handle(row.handler), row)


def decide(case: SwitchCase) -> Decision:
    """Everything said and done about this page; ValueError for a page that cannot be."""
    if problems := contradictions(case.case):
        raise ValueError("; ".join(problems))
    return _Run(case).memory_failure()
