"""One step of a script, the pages it names, and the frames it takes and gives back."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from hwsim.kernel import page_flags as pg
from hwsim.kernel.allocator import alloc_pages, put_page
from hwsim.kernel.failure import MemoryFailure
from hwsim.kernel.later_look import clean_if_written
from hwsim.kernel.mm_types import PAGE_SHIFT, AddressSpace, Page, Region, Task, Vma
from hwsim.kernel.mmap import find_vma
from hwsim.kernel.page_cache import set_page_dirty
from hwsim.kernel.ports import Halted
from hwsim.kernel.swap import free_swap_and_cache, is_on_swap
from hwsim.record import StepMistake
from hwsim.userspace.user_task import user_task

if TYPE_CHECKING:
    from hwsim.kernel.system import Kernel
    from hwsim.machine import Machine
    from hwsim.spec import ScriptStep
    from hwsim.userspace.user_task import UserTask

_SHOWN = 30  # names of tasks in a message
_FIRST_ERROR_ID = -10_000_000  # names of the draws for pages that only a script has looked at


class ScriptError(Exception):
    """A step asks for what cannot be at its time."""

    def __init__(self, mistake: StepMistake) -> None:
        super().__init__(mistake)
        self.mistake = mistake

    def __str__(self) -> str:
        where, verb, page, problem = self.mistake[:4]
        return f"{where}: {verb}{' ' if page else ''}{page}: {problem}"


class StepSkipped(Exception):
    """A step for which an error has left nothing to do; the argument says so."""


class Step:
    """A step while it is done: what it asks for, and the facts it leaves in the event log."""

    __slots__ = ("args", "facts", "machine", "number", "spec")

    def __init__(self, machine: Machine, spec: ScriptStep, number: int) -> None:
        self.machine = machine
        self.spec = spec
        self.number = number
        self.args = spec.args
        self.facts: dict[str, Any] = {}

    @property
    def kernel(self) -> Kernel:
        """The kernel that runs now."""
        return self.machine.kernel

    def mistake(self, problem: str, *key: str, allowed: str | Iterable[str] = "") -> ScriptError:
        """What to raise when the step can never be done; ``key`` leads to the argument that is wrong."""
        page = self.args.get("page")
        text = _page_text(page) if page else ""
        names = allowed if isinstance(allowed, str) else tuple(allowed)
        return ScriptError(StepMistake(self.spec.where, self.spec.verb, text, problem, key or ("do",), names))

    def error(self, problem: str, *key: str, allowed: str | Iterable[str] = "") -> ScriptError | StepSkipped:
        """What to raise when the step cannot be done now.

        No mistake if an error may have made it so, by a panic or by the death of a task that the step names:
        who lives, and what a reboot leaves, depends on the policy.
        """
        if self.machine.panics or any(member.struck for member in self._named()):
            return StepSkipped(problem)
        return self.mistake(problem, *key, allowed=allowed)

    def _named(self) -> Iterator[UserTask]:
        """The places of the tasks that the step names."""
        refs = [self.args.get(key, {}).get("region", "") for key in ("page", "buffer")]
        names = {self.args.get("task"), *(ref.partition("/")[0] for ref in refs)}
        return (each for each in self.machine.processes.members() if each.name in names)

    def result(self, result: str | int, **facts: Any) -> None:
        """What came of the step; when, if it had to wait or was made again by a handler's return."""
        self.facts.update({"result": result}, **facts)
        if self.kernel.engine.now_ns > self.spec.at_ns:
            self.facts["answered_ns"] = self.kernel.engine.now_ns

    def report(self, pfn: int) -> MemoryFailure:
        """The draws with which a page is looked at that has no story."""
        return MemoryFailure(_FIRST_ERROR_ID - self.number, pfn, [], self.machine.draws.extra, attempt=1)

    def look(self, pfn: int) -> Page:
        """The struct page of the frame as it is now."""
        return self.kernel.pfn_to_page(pfn, self.report(pfn))

    def changed(self, page: Page) -> None:
        """The page is used in another way now: the race for its bad line starts anew."""
        story = self.machine.live_story(page.pfn)
        if story is not None and story.contained_ns is None:
            story.draw_race()

    def up_to_now(self, page: Page) -> None:
        """Before a step changes the page: what has become of it since somebody looked at it last."""
        story = self.machine.live_story(page.pfn)
        if story is not None:
            story.settle()
        if (at_ns := clean_if_written(page, self.kernel.engine.now_ns)) is not None:
            self.kernel.event("written_back", pfn=page.pfn, at_ns=at_ns)

    def set_page_dirty(self, page: Page) -> None:
        """The step stores to a page of a file or of a segment."""
        self.up_to_now(page)
        set_page_dirty(page, self.kernel.engine.now_ns)

    # -- tasks --------------------------------------------------------------------------------------

    def member(self, name: str | None = None, *key: str) -> UserTask:
        """The place of the step's task, with a living process in it; ``key`` names another one."""
        name = self.args["task"] if name is None else name
        key = key or ("task",)
        for member in self.machine.processes.members():
            if member.name == name:
                if member.task is not None and member.task.killed:
                    raise StepSkipped(f'task "{name}" was killed')
                if not member.alive:
                    allowed = "a task that lives at this time"
                    raise self.error(f'task "{name}" is dead at this time', *key, allowed=allowed)
                return member
        if name.rpartition(".")[0] in self.machine.script.unforked:
            raise StepSkipped(f'task "{name}" was never forked')
        raise self.error(f'there is no task "{name}" at this time', *key, allowed=self._living(name))

    def _living(self, name: str) -> list[str]:
        """Names of living tasks to show, those of the same group first."""
        first = name.split(".", maxsplit=1)[0]
        groups = sorted(self.machine.processes.groups, key=lambda group: group.spec.name != first)
        return [each.name for group in groups for each in group.members[:_SHOWN] if each.alive][:_SHOWN]

    def task(self, name: str | None = None, *key: str) -> Task:
        """The process itself."""
        task = self.member(name, *key).task
        assert task is not None
        return task

    def vmas(self, task: Task, name: str, *key: str) -> list[Vma]:
        """All pieces of a region of the task."""
        found = [vma for vma in task.vmas.values() if vma.name == name]
        if not found:
            owner = f"{task.name}/" if key and key[0] != "region" else ""  # as the key spells it
            known = dict.fromkeys(f"{owner}{vma.name}" for vma in task.vmas.values())
            raise self.error(
                f'task "{task.name}" maps no region "{name}" at this time',
                *(key or ("region",)),
                allowed=known,
            )
        return found

    def vma(self, task: Task, name: str, index: int, *key: str) -> tuple[Vma, int]:
        """The VMA that covers page ``index`` of a region, and its page offset."""
        pgoff = index + self.base(task, name)
        vma = find_vma(task, name, pgoff)
        if vma is None:
            raise self.not_mapped(task, name, index, 1, *key)
        return vma, pgoff

    def not_mapped(
        self, task: Task, name: str, first: int, pages: int, *key: str
    ) -> ScriptError | StepSkipped:
        """Some of these pages of a region are not mapped; only of a region that was cut that can change."""
        found, base = self.vmas(task, name, *key[:-1], "region"), self.base(task, name)
        whole = max(vma.region.layout.pages for vma in found)
        if first + pages > whole:
            text = f'region "{name}" of task "{task.name}" has {whole} pages'
            return self.mistake(text, *key, allowed=f"0 to {whole - 1}")
        what = f"page {first}" if pages == 1 else f"all of pages {first} to {first + pages - 1}"
        ranges = sorted((vma.pgoff - base, vma.pgoff - base + vma.pages - 1) for vma in found)
        allowed = ", ".join(f"{low} to {high}" for low, high in ranges)
        return self.error(
            f'task "{task.name}" does not map {what} of region "{name}" at this time', *key, allowed=allowed
        )

    @staticmethod
    def base(task: Task, name: str) -> int:
        """Page offset of a region's first page: not zero in one that mremap() made."""
        return task.offsets.get(name, 0)

    # -- pages --------------------------------------------------------------------------------------

    def pfn(self, key: str = "page") -> int:
        """The frame that the step names; it need not have a struct page."""
        ref = self.args[key]
        return int(ref["pfn"]) if "pfn" in ref else self.page(key).pfn

    def page(self, key: str = "page") -> Page:
        """The page that the step names."""
        ref = self.args[key]
        mem_map = self.kernel.mem_map
        if "region" in ref:
            vma, pgoff = self.target(key)
            page = self.page_in_vma(vma, pgoff)
            if page is None and vma.mapping is None:
                page = self.look(vma.region.layout.first_pfn + pgoff)  # a frame kept for it, free till then
            if page is None:
                raise self.error("the page is not in memory")
            return page
        if "file" in ref:
            page = self.cached(self.file(ref["file"]), ref["index"])
            if page is None:
                raise self.error("the page is not in the page cache")
            return page
        if "kernel" in ref:
            pfn = self.kernel_memory(ref["kernel"], key, "kernel").layout.first_pfn + ref["index"]
        elif "free" in ref:
            pfn = mem_map.by_name["free"].layout.first_pfn + ref["free"]
        else:
            pfn = ref["pfn"]
        if not mem_map.pfn_valid(pfn):
            raise self.beyond(pfn, mem_map.memory_pages, key, "pfn")
        return self.look(pfn)

    def target(self, key: str) -> tuple[Vma, int]:
        """The VMA that covers the page of a region that the step names, and its page offset."""
        ref = self.args[key]
        owner, _, name = ref["region"].partition("/")
        task = self.task(owner, key, "region")
        self.vmas(task, name, key, "region")
        return self.vma(task, name, ref["index"], key, "index")

    def file(self, name: str, *key: str) -> Region:
        """The region of a file."""
        region = self.kernel.mem_map.by_name.get(f"file:{name}")
        if region is None:
            key = key or ("file",)
            raise self.mistake(f'no file has the name "{name}"', *key, allowed=self.named("file:"))
        return region

    def named(self, prefix: str) -> list[str]:
        """The names of all living regions of a sort: ``file:`` or ``kernel:``."""
        by_name = self.kernel.mem_map.by_name
        return [each[len(prefix) :] for each in by_name if each.startswith(prefix) and by_name[each].alive]

    def kernel_memory(self, name: str, *key: str) -> Region:
        """A pool, or a block that a step has allocated."""
        region = self.kernel.mem_map.by_name.get(f"kernel:{name}")
        if region is None or not region.alive:
            text = f'the kernel holds no "{name}" at this time'
            raise self.error(text, *key, allowed=self.named("kernel:"))
        return region

    def beyond(self, pfn: int, pages: int, *key: str) -> ScriptError:
        """There is no such memory."""
        text = f"pfn {pfn:#x} is beyond the memory, which ends at {pages << PAGE_SHIFT:#x}"
        return self.mistake(text, *key, allowed=f"pfn 0 to {pages - 1}")

    def page_in_vma(self, vma: Vma, pgoff: int) -> Page | None:
        """The page that the entry of this VMA maps or leads to."""
        pte = vma.ptes.get(pgoff)
        if pte is not None:
            return pte.page
        if vma.mapping is not None and vma.region.kind != "hugetlb":
            page = self.cached(self.frames_of(vma), pgoff)
            return page if page is not None and vma in page.ptes else None
        for region in self._anon_regions(vma):
            if not 0 <= pgoff < region.layout.pages:
                continue
            page = self.look(region.layout.first_pfn + pgoff)
            if vma in (page.head or page).ptes:
                return page
            pte = vma.ptes.get(pgoff)
            if pte is not None:  # looking has found a swap entry
                return pte.page
        return None

    @staticmethod
    def _anon_regions(vma: Vma) -> list[Region]:
        """Where the task's page may lie: in the original frames or in its own copies."""
        copies = user_task(vma.task).copies.get(vma.name)
        return [vma.region] if copies is None else [vma.region, copies]

    def frames_of(self, vma: Vma) -> Region:
        """The region that holds the pages of the VMA's file or segment."""
        if vma.region.layout.first_pfn >= 0:
            return vma.region
        return self.region_of(vma.mapping)

    def region_of(self, mapping: AddressSpace | None) -> Region:
        """The region of a file."""
        for region in self.kernel.mem_map.regions:
            if region.mapping is mapping and region.layout.first_pfn >= 0:
                return region
        raise AssertionError("a mapping without frames")

    def cached(self, region: Region, pgoff: int) -> Page | None:
        """The page in the page cache of the file, or of the segment also in its swap cache."""
        mapping = region.mapping
        assert mapping is not None
        page = mapping.pages.get(pgoff) or mapping.swapped.get(pgoff)
        if page is not None and page.epoch == region.epoch:
            return page
        if not 0 <= pgoff < region.layout.pages or is_on_swap(region, pgoff):
            return None
        page = self.look(region.layout.first_pfn + pgoff)
        return page if page.mapping is mapping else None

    def free_page(self) -> int:
        """A frame from the free lists."""
        pfn = alloc_pages(self.kernel, 0)
        if pfn is None:
            raise self.error("there is no free page left")
        self.machine.given_out(pfn, 1)
        return pfn

    def free_run(self, pages: int, order: int, *key: str) -> int:
        """A run of free frames, aligned to blocks of ``order``; of the poison in it the gatekeeper hears."""
        covering = max(order, (pages - 1).bit_length())
        first = alloc_pages(self.kernel, covering)
        if first is None:
            free = self.kernel.mem_map.by_name["free"].layout.pages
            allowed = f"a smaller one: {free} pages are free at the boot"
            raise self.error(f"there is no free block of {1 << covering} pages left", *key, allowed=allowed)
        if pages < 1 << covering:
            self.kernel.mem_map.taken[first] = pages
        return first

    def new_page(self, region: Region, pgoff: int, flags: int) -> Page:
        """A frame for page ``pgoff`` of a region: the one kept for it if it is free, or another."""
        mem_map = self.kernel.mem_map
        pfn = -1
        if region.layout.first_pfn >= 0 and 0 <= pgoff < region.layout.pages and region.alive:
            own = self.look(region.layout.first_pfn + pgoff)
            if own.flags & pg.BUDDY and not own.flags & pg.HWPOISON:
                pfn = own.pfn
                self.machine.given_out(pfn, 1)
        if pfn < 0:
            pfn = self.free_page()
        page = Page(pfn, region, pgoff, region.epoch, self.kernel.config.real_flags(flags))
        page.looked_ns = self.kernel.engine.now_ns
        mem_map.overlay[pfn] = page
        story = self.machine.live_story(pfn)
        if story is not None:  # a permanent fault stays with the frame
            story.page = page
            region.watched[pfn] = None
        return page

    def drop_if_unused(self, page: Page) -> None:
        """put_page(): the last reference is gone, the frame goes to the free lists if it may."""
        put_page(self.kernel, page)


def carry_out(step: Step, steps: Generator[Any, Any, None]) -> None:
    """Do what may have to sleep: at once up to the first sleep, the rest when it is over."""
    try:
        bell = next(steps)
    except StopIteration:
        return

    def rest() -> Generator[Any, Any, None]:
        try:
            yield bell
            yield from steps
        except Halted:
            return
        except ScriptError as error:
            step.machine.script.refuse(error)
        except StepSkipped as reason:
            step.facts["skipped"] = str(reason)

    step.kernel.engine.process(rest())


def returns(step: Step, task: Task) -> bool:
    """Whether what may have slept in the kernel comes back to the task."""
    if not task.alive:
        step.facts["skipped"] = f'task "{task.name}" died while it waited'
    return task.alive and not step.kernel.halted


def let_go(step: Step, pages: list[Page]) -> None:
    """The pages have lost an entry: those that nobody uses any more are free."""
    for page in pages:
        free_swap_and_cache(page)
        step.drop_if_unused(page)
    step.kernel.watcher.entries_dropped(pages)
    for page in pages:
        step.changed(page)


def _page_text(page: dict[str, Any]) -> str:
    if "pfn" in page:
        return f"pfn {page['pfn']:#x}"
    key = next(key for key in ("region", "file", "kernel", "free", "address") if key in page)
    return f"{key} {page[key]}" + (f" index {page['index']}" if "index" in page else "")
