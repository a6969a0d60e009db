"""Verbs of a task that touches memory: load and store, with the page faults they run into."""

from __future__ import annotations

from collections.abc import Callable, Generator

from simpy import Event

from hwsim.bad_lines import discovery, late_touch
from hwsim.engine import Steps
from hwsim.kernel import page_flags as pg
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.mm.memory import (
    BUS_ERROR,
    DIRTIES,
    FATAL,
    KILLED_AR,
    OK,
    REREAD_SWAP,
    STALE,
    THROUGH,
    ZEROES,
    copy_user,
    do_fault,
    do_page_fault,
    do_sigbus,
    meets_poison,
    store_under_page_lock,
)
from hwsim.kernel.mm.page_cache import mlock_vma_page
from hwsim.kernel.mm.page_lock import wait_on_page
from hwsim.kernel.mm.swap import do_swap_page, reuse_swap_page
from hwsim.kernel.mm_types import POISON, PRESENT, SWAP, Page, Pte, Region, Task, Vma
from hwsim.kernel.signal import LOOP_BOUND
from hwsim.record import Found, Result
from hwsim.script.frames import changed, line_overwritten, new_page, stored_to
from hwsim.script.pages import (
    cached,
    file_of,
    frames_of,
    nobodys_failure,
    page_in_vma,
    page_of,
    target_of,
    vma_at,
)
from hwsim.script.reading_in import ANON_PAGE, bring_in, swap_in_frame
from hwsim.script.step import Step, carry_out, returns
from hwsim.userspace.user_task import user_task

CONSUMED, SIGSEGV = "consumed", "SIGSEGV"


def load(step: Step) -> None:
    """The task reads the page."""
    carry_out(step, _carry_out(step, *find_target(step), store=False))


def store(step: Step) -> None:
    """The task writes to the page."""
    carry_out(step, _carry_out(step, *find_target(step), store=True))


def _carry_out(step: Step, vma: Vma, pgoff: int, *, store: bool, tries: int = 1) -> Steps:
    """The access; one that SIGBUS ends is made again when the handler returns, but not for ever."""
    task = vma.task
    result = yield from touch(step, vma, pgoff, store=store)
    if result is None:
        return
    step.result(result)
    signal = task.pending
    if result not in FATAL or signal is None:
        return

    def again() -> None:
        if tries < LOOP_BOUND and vma.alive:
            carry_out(step, _carry_out(step, vma, pgoff, store=store, tries=tries + 1))
        else:
            signal.result = Result.LOOPING

    signal.again = again


def find_target(step: Step) -> tuple[Vma, int]:
    """Where the step's task maps the page that the step names."""
    task, ref = step.task(), step.args["page"]
    if "kernel" in ref or "free" in ref:
        allowed = "a page of a region or of a mapped file"
        raise step.mistake(f"a task cannot {step.spec.verb} this page", "page", allowed=allowed)
    if "region" in ref:
        return _own_mapping(step, task)
    if "file" in ref:
        mapping = file_of(step, ref["file"], "page", "file").mapping
        mapped = [vma for vma in task.vmas.values() if vma.mapping is mapping]
        for vma in mapped:
            if vma.covers(ref["index"]):
                return vma, ref["index"]
        if mapped:
            last = max(vma.pgoff + vma.pages for vma in mapped) - 1
            raise step.error("beyond the mapped part of the file", "page", allowed=f"0 to {last}")
    else:
        page = page_of(step)
        for vma in task.vmas.values():
            for pgoff, pte in vma.ptes.items():
                if pte.page is page:
                    return vma, pgoff
        head = page.head or page
        for vma in head.ptes:
            if vma.task is task:
                return vma, page.pgoff
    known = dict.fromkeys(vma.name for vma in task.vmas.values())
    what = "file" if "file" in ref else "page"
    raise step.error(f'task "{task.name}" does not map this {what}', "page", allowed=known)


def _own_mapping(step: Step, task: Task) -> tuple[Vma, int]:
    """Where the task maps the page of a region that may be named as another task sees it."""
    theirs, _ = target_of(step, "page")
    owner, _, name = step.args["page"]["region"].partition("/")
    if owner == task.name:
        return target_of(step, "page")
    for vma in task.vmas.values():
        if vma.name == name and vma.mapping is theirs.mapping and vma.anon_vma is theirs.anon_vma:
            return vma_at(step, task, name, step.args["page"]["index"], "page", "index")
    allowed = f'a region of "{task.name}"'
    raise step.error(f'task "{task.name}" does not map memory of "{owner}"', "page", allowed=allowed)


def touch(step: Step, vma: Vma, pgoff: int, *, store: bool) -> Generator[Event, object, str | None]:
    """One access with all the faults on the way; says what came of it, None if the task died waiting."""
    while True:
        if store and not vma.writable:
            return die_of(step, vma.task, SIGSEGV)
        page = page_in_vma(step, vma, pgoff)
        if vma.region.layout.is_hugetlb:
            if page is None:
                raise step.error("the huge page is not mapped")
            return _access(step, vma, (page.head or page).ptes[vma], page, store=store)
        pte = vma.ptes.get(pgoff)
        locked = _waits_for(step, vma, pgoff, pte, store=store)
        if locked is None:
            break
        while locked.flags & pg.LOCKED:
            yield from wait_on_page(step.kernel, locked)
        while vma.task.alive and _sigbus_is_due(vma.task):  # signals come before user space goes on
            yield user_task(vma.task).wait_for_user_space()
        if not returns(step, vma.task):
            return None
    result = OK
    if pte is None or pte.kind != PRESENT:
        result = fault(step, vma, pgoff, pte, store=store)
        if result in FATAL:
            return result
        pte = vma.ptes[pgoff]
    met = _access(step, vma, pte, pte.page, store=store)
    return result if met == OK else met


def _waits_for(step: Step, vma: Vma, pgoff: int, pte: Pte | None, *, store: bool) -> Page | None:
    """The page for whose lock the access waits.

    A fault on an empty or swap entry takes it; poison is answered before (do_swap_page(), 2.6.32).
    """
    if pte is not None and pte.kind == PRESENT:
        if not store or not pte.page.flags & pg.LOCKED:
            return None
        how = store_under_page_lock(pte)
        if how == DIRTIES:
            set_dirty(step, pte, pte.page)
        return None if how == THROUGH else pte.page
    if pte is not None and pte.kind in (POISON, SWAP):
        page = None if meets_poison(pte) else pte.page
    else:
        page = None if vma.mapping is None else cached(step, frames_of(step, vma), pgoff)
    return page if page is not None and page.flags & pg.LOCKED else None


def _access(step: Step, vma: Vma, pte: Pte, page: Page, *, store: bool) -> str:
    """The access itself, to a page that is mapped."""
    line = step.bad_line(page.pfn)
    copied = store and page.flags & pg.ANON and len(page.ptes) > 1
    full_line = store and bool(step.args.get("full_line")) and not copied
    if line is not None and not full_line:
        step.result(CONSUMED)  # now: the run may end in the next line
        discovery.consumed(line, Found.TASK_LOAD, vma.task.name)
        return CONSUMED
    if copied:
        do_wp_page(step, vma, pte)
        return "copied"
    if store:
        line_overwritten(step, page)  # a store to less than the bad line would have read it
        set_dirty(step, pte, page, only_entry=step.args.get("until") == "pte")
    return OK


def set_dirty(step: Step, pte: Pte, page: Page, *, only_entry: bool = False) -> None:
    """A store sets the entry's dirty bit; the fault before it that of a file page."""
    page.writer = pte.vma.task.name
    pte.dirty = pte.writable = True
    if only_entry:
        return
    if page.mapping is not None and not page.flags & pg.ANON:
        stored_to(step, page)
    reuse_swap_page(page)


def do_wp_page(step: Step, vma: Vma, pte: Pte) -> None:
    """Copy on write: the task gets a frame of its own and leaves the old one to the others."""
    old = pte.page
    copies: Region = user_task(vma.task).copies.get(vma.name) or old.region
    del old.ptes[vma]
    page = new_page(step, copies, old.pgoff, old.flags & (pg.MLOCKED | pg.UNEVICTABLE) | ANON_PAGE)
    page.anon_vma = old.anon_vma
    page.map(vma, dirty=True)
    changed(step, old)
    changed(step, page)
    step.facts["pfn"] = page.pfn


def fault(step: Step, vma: Vma, pgoff: int, pte: Pte | None, *, store: bool) -> str:
    """handle_mm_fault(): what stands in the page table decides."""
    if pte is not None and pte.kind in (POISON, SWAP):
        return _fault_on_entry(step, vma, pte, store=store)
    if vma.mapping is None:
        return anonymous_page(step, vma, pgoff)
    return _file_page(step, vma, pgoff, store=store)


def failure_of(step: Step, page: Page) -> MemoryFailure:
    """To whom a signal about the page is booked."""
    line = step.bad_lines.live(page.pfn)
    if line is None:
        line = step.bad_lines.by_pfn.get(page.pfn)
    if line is None:  # poisoned by the flags verb: nobody's error
        raise step.error("the page is poisoned, but no error has been injected into it")
    return line.in_boot.failure or line.new_failure()


def _fault_on_entry(step: Step, vma: Vma, pte: Pte, *, store: bool) -> str:
    old = pte.page
    failure = failure_of(step, old) if meets_poison(pte) else nobodys_failure(step, old.pfn)
    result = do_page_fault(step.kernel, vma, pte, failure)
    line = step.bad_lines.live(old.pfn)
    if line is not None:
        late_touch.touched_by_step(line, pte)
    if result == OK:
        do_swap_page(vma, pte, old, write=store)
        changed(step, old)
    elif result == REREAD_SWAP:
        page = swap_in_frame(step, old)
        do_swap_page(vma, pte, page, write=store)
    return result


def anonymous_page(step: Step, vma: Vma, pgoff: int) -> str:
    """do_anonymous_page(): a cleared page."""
    region = user_task(vma.task).copies.get(vma.name) or vma.region
    flags = ANON_PAGE | (pg.MLOCKED | pg.UNEVICTABLE if vma.mlocked else 0)
    page = new_page(step, region, pgoff, flags)
    page.anon_vma = vma.anon_vma
    page.map(vma, dirty=True)
    changed(step, page)
    return ZEROES


def _file_page(step: Step, vma: Vma, pgoff: int, *, store: bool) -> str:
    """filemap_fault() or shmem_fault(): from the cache, or read in."""
    region = frames_of(step, vma)
    page, result = bring_in(step, region, pgoff)
    if page is None:
        return _bus_error(step, vma, pgoff, cached(step, region, pgoff))
    failure = failure_of(step, page) if page.flags & pg.HWPOISON else nobodys_failure(step, page.pfn)
    found = do_fault(step.kernel, vma, page, failure)
    if found == KILLED_AR:
        return found
    if found == BUS_ERROR:
        return _bus_error(step, vma, pgoff, page)
    if result in (STALE, ZEROES):
        step.kernel.files.read(region, pgoff)
    page.map(vma, dirty=False, writable=store)
    if vma.mlocked:
        mlock_vma_page(page)
    changed(step, page)
    return result


def _bus_error(step: Step, vma: Vma, pgoff: int, page: Page | None) -> str:
    """VM_FAULT_SIGBUS: for the error that took the page's contents, or for none."""
    poisoned = page is not None and page.flags & pg.HWPOISON
    failure = failure_of(step, page) if page is not None and poisoned else nobodys_failure(step, -1)
    return do_sigbus(step.kernel, vma, pgoff, BUS_ERROR, failure)


def _sigbus_is_due(task: Task) -> bool:
    """Whether a SIGBUS, or the handler of one, comes before the task goes on in user space."""
    return (task.pending is not None and not task.blocked) or task.handler_ends_ns > 0


def die_of(step: Step, task: Task, what: str) -> str:
    """A signal that no task of a scenario catches."""
    member = user_task(task)
    step.kernel.event("killed", task=task.name, pid=task.pid, cause=what)
    member.group.die(member, None, by_step=True)
    return what


def user_buffer(step: Step) -> int:
    """The kernel copies from or to the buffer that read() or write() names: 0 or -EFAULT."""
    ref = step.args.get("buffer")
    if ref is None:
        return 0
    task = step.task()
    vma, pgoff = vma_at(step, task, ref["region"].partition("/")[2], ref["index"])
    page = page_in_vma(step, vma, pgoff)
    pte = vma.ptes.get(pgoff)
    if pte is not None and pte.kind != PRESENT:
        error = copy_user(step.kernel, vma, pte)
        if error:
            return error
    line = step.bad_line(page.pfn) if page is not None else None
    if line is not None and pte is not None and pte.kind == PRESENT:
        step.result(CONSUMED)
        discovery.consumed(line, Found.KERNEL_LOAD, task.name)
    return 0


PLAYS: dict[str, Callable[[Step], None]] = {"load": load, "store": store}
