"""One step of a script, the pages it names, and the frames it takes and gives back."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from hwsim.kernel import page_flags as pg
from hwsim.kernel.allocator import alloc_pages
from hwsim.kernel.later_look import clean_if_written
from hwsim.kernel.mem_map import Region
from hwsim.kernel.memory_failure import Report
from hwsim.kernel.mmap import find_vma
from hwsim.kernel.panic import Halted
from hwsim.kernel.struct_page import AddressSpace, Page
from hwsim.kernel.swap import is_on_swap
from hwsim.kernel.task_struct import Task, Vma
from hwsim.kernel.writeback import set_page_dirty
from hwsim.userspace.frames import free_swap_and_cache, put_page

if TYPE_CHECKING:
    from hwsim.kernel.system import Kernel
    from hwsim.machine import Machine
    from hwsim.spec import ScriptStep
    from hwsim.userspace.tasks import Member

_FIRST_ERROR_ID = -10_000_000  # names of the draws for pages that only a script has looked at


class ScriptError(Exception):
    """A step asks for what cannot be at its time: where it stands, its verb, the page, what is so."""

    def __init__(self, where: str, verb: str, page: str, problem: str) -> None:
        super().__init__(where, verb, page, problem)
        self.where = where
        self.verb = verb
        self.page = page
        self.problem = problem

    def __str__(self) -> str:
        page = f" {self.page}" if self.page else ""
        return f"{self.where}: {self.verb}{page}: {self.problem}"


class StepSkipped(Exception):
    """A step of a task that an error has killed; the argument says so."""


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

    def error(self, problem: str) -> ScriptError:
        """What to raise when the step cannot be done."""
        page = self.args.get("page")
        return ScriptError(self.spec.where, self.spec.verb, _page_text(page) if page else "", problem)

    def result(self, result: str | int, **facts: Any) -> None:
        """What came of the step."""
        self.facts["result"] = result
        self.facts.update(facts)

    def report(self, pfn: int) -> Report:
        """The draws with which a page is looked at that has no story."""
        return Report(_FIRST_ERROR_ID - self.number, pfn, [], self.machine.draws.extra, attempt=1)

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
        clean_if_written(page, self.kernel.now)

    def set_page_dirty(self, page: Page) -> None:
        """The step stores to a page of a file or of a segment."""
        self.up_to_now(page)
        set_page_dirty(page, self.kernel.now)

    # -- tasks --------------------------------------------------------------------------------------

    def member(self, name: str | None = None) -> Member:
        """The place of the step's task, with a living process in it."""
        name = self.args["task"] if name is None else name
        for group in self.machine.groups:
            for member in group.members:
                if member.name == name:
                    if member.task is not None and member.task.killed:
                        raise StepSkipped(f'task "{name}" was killed')
                    if not member.alive:
                        raise self.error(f'task "{name}" is dead at this time')
                    return member
        if name.rpartition(".")[0] in self.machine.script.unforked:
            raise StepSkipped(f'task "{name}" was never forked')
        raise self.error(f'there is no task "{name}" at this time')

    def task(self, name: str | None = None) -> Task:
        """The process itself."""
        task = self.member(name).task
        assert task is not None
        return task

    def vmas(self, task: Task, name: str) -> list[Vma]:
        """All pieces of a region of the task."""
        found = [vma for vma in task.vmas.values() if vma.name == name]
        if not found:
            raise self.error(f'task "{task.name}" maps no region "{name}" at this time')
        return found

    def vma(self, task: Task, name: str, index: int) -> tuple[Vma, int]:
        """The VMA that covers page ``index`` of a region, and its page offset."""
        pgoff = index + self.base(task, name)
        vma = find_vma(task, name, pgoff)
        if vma is None:
            raise self.error(f'task "{task.name}" does not map page {index} of region "{name}" at this time')
        return vma, pgoff

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
            owner, _, name = ref["region"].partition("/")
            task = self.task(owner)
            vma, pgoff = self.vma(task, name, ref["index"])
            page = self.page_in_vma(vma, pgoff)
            if page is None and vma.mapping is None:
                page = self.look(vma.region.layout.first_pfn + pgoff)  # a frame kept for it, free till then
            if page is None:
                raise self.error("the page is not in memory")
            return page
        if "file" in ref:
            page = self.cached(mem_map.by_name[f"file:{ref['file']}"], ref["index"])
            if page is None:
                raise self.error("the page is not in the page cache")
            return page
        if "kernel" in ref:
            region = mem_map.by_name.get(f"kernel:{ref['kernel']}")
            if region is None or not region.alive:
                raise self.error(f'the kernel holds no "{ref["kernel"]}" at this time')
            pfn = region.layout.first_pfn + ref["index"]
        elif "free" in ref:
            pfn = mem_map.by_name["free"].layout.first_pfn + ref["free"]
        else:
            pfn = ref["pfn"]
        if not mem_map.pfn_valid(pfn):
            raise self.error(
                f"pfn {pfn:#x} has no struct page: memory ends before pfn {mem_map.memory_pages:#x}"
            )
        return self.look(pfn)

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
        copies = vma.task.behaviour.copies.get(vma.name)
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

    def free_run(self, pages: int, order: int) -> int:
        """A run of free frames, aligned to blocks of ``order``; of the poison in it the gatekeeper hears."""
        covering = max(order, (pages - 1).bit_length())
        first = alloc_pages(self.kernel, covering)
        if first is None:
            raise self.error(f"there is no free block of {1 << covering} pages left")
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
        page = Page(pfn, region, pgoff)
        page.flags = self.kernel.config.real_flags(flags)
        page.looked_ns = self.kernel.now
        mem_map.overlay[pfn] = page
        story = self.machine.live_story(pfn)
        if story is not None:  # a permanent fault stays with the frame
            story.page = page
            region.pages_of_interest[pfn] = story
        return page

    def drop_if_unused(self, page: Page) -> None:
        """put_page(): the last reference is gone, the frame goes to the free lists if it may."""
        put_page(self.machine, page)


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

    step.kernel.engine.env.process(rest())


def let_go(step: Step, pages: list[Page]) -> None:
    """The pages have lost an entry: those that nobody uses any more are free."""
    for page in pages:
        free_swap_and_cache(page)
        step.drop_if_unused(page)
    step.machine.entries_dropped(pages)
    for page in pages:
        step.changed(page)


def _page_text(page: dict[str, Any]) -> str:
    if "pfn" in page:
        return f"pfn {page['pfn']:#x}"
    key = next(key for key in ("region", "file", "kernel", "free", "address") if key in page)
    return f"{key} {page[key]}" + (f" index {page['index']}" if "index" in page else "")
