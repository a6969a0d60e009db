"""Verbs of files: read and write by system call, writing back, and who is told of a lost write."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from hwsim.kernel import page_flags as pg
from hwsim.kernel.fault import STALE, ZEROES
from hwsim.kernel.filemap_error import (
    OpenFile,
    close_file,
    close_reports,
    evict_inode,
    filemap_check_errors,
    open_file,
    wait_swallows,
)
from hwsim.kernel.mem_map import Region
from hwsim.kernel.page_cache import answers_eio, delete_from_swap_cache, truncate_inode_page
from hwsim.kernel.struct_page import AddressSpace, Page
from hwsim.kernel.swap import clear_page_dirty_for_io, is_dirty, shmem_getpage
from hwsim.kernel.task_struct import Task
from hwsim.kernel.truncate import unmap_mapping_range
from hwsim.kernel.writeback import Inode
from hwsim.userspace.open_files import DEFAULT_FD, file_left
from hwsim.userspace.script_step import Step, carry_out, let_go
from hwsim.userspace.script_touch import (
    CONSUMED,
    add_to_page_cache,
    bring_in,
    file_pages,
    lost_pages,
    user_buffer,
)

Sleeps = Generator[Any, Any, None]


def _file(step: Step) -> tuple[Region, AddressSpace]:
    region = step.kernel.mem_map.by_name[f"file:{step.args['file']}"]
    assert region.mapping is not None
    return region, region.mapping


def read(step: Step) -> None:
    """read(): from the page cache, or read in from the disk.  AS_EIO is never looked at."""
    step.task()
    region, _ = _file(step)
    index = step.args["index"]
    if index >= file_pages(region):
        step.result("end of file")
        return
    page, result = bring_in(step, region, index)
    if page is None or not page.flags & pg.UPTODATE or _refused(step, page):
        step.result("EIO")
        return
    story = step.machine.live_story(page.pfn)
    if story is not None and story.line_is_bad:
        step.result(CONSUMED)  # now: the run may end in the next line
        story.consumed("kernel_load", step.args["task"])
        return
    if user_buffer(step):
        step.result("EFAULT")
        return
    if result in (STALE, ZEROES):
        step.machine.lost_writes.script_read(region, index)
    step.result(result)


def _refused(step: Step, page: Page) -> bool:
    return answers_eio(page, step.kernel.switches.pagecache_policy)


def write(step: Step) -> None:
    """write() of a whole page: it is dirty in the cache, and a transiently bad line is healed."""
    task = step.task()
    if user_buffer(step):
        step.result("EFAULT")
        return
    carry_out(step, _write(step, task))


def _write(step: Step, task: Task) -> Sleeps:
    region, mapping = _file(step)
    index = step.args["index"]
    page = step.cached(region, index)
    while page is not None and _is_locked(page):
        yield from step.kernel.wait_on_page(page)
        page = step.cached(region, index)  # memory_failure() may have dropped it
    if not _returns(step, task):
        return
    if page is not None and (_refused(step, page) or (page.flags & pg.SWAPCACHE and not shmem_getpage(page))):
        step.result("EIO")
        return
    if page is None:
        page = add_to_page_cache(step, region, index)
    story = step.machine.live_story(page.pfn)
    if story is not None and story.line_is_bad and not story.permanent:
        step.kernel.event("healed", error=story.error, pfn=story.pfn)
        story.finish("healed")
    step.set_page_dirty(page)
    page.flags |= pg.UPTODATE  # of a poisoned page only the flag (patch 10)
    mapping.holes.discard(range(index, index + 1))
    if mapping.size_pages is not None:
        mapping.size_pages = max(mapping.size_pages, index + 1)
    for old in lost_pages(step, region, index):
        old.lost_bytes = 0
    step.machine.lost_writes.overwritten(region, index)
    page.writer = step.args["task"]
    step.changed(page)
    if step.args.get("sync"):
        yield from _ask(step, "o_sync", _descriptor(step, mapping), range(index, index + 1))
        return
    step.result("ok", pfn=page.pfn)


def _is_locked(page: Page) -> bool:
    """Whether somebody else has the page lock; a step that took it is the one that goes on."""
    return bool(page.flags & pg.LOCKED) and not page.locked_by_script


def _returns(step: Step, task: Task) -> bool:
    """Whether a system call that may have slept comes back to the task."""
    if not task.alive:
        step.facts["skipped"] = f'task "{task.name}" died while it waited'
    return task.alive and not step.kernel.halted


def _descriptor(step: Step, mapping: AddressSpace) -> OpenFile:
    """The struct file that the step names; one that was closed is opened anew."""
    task = step.task()
    key = step.args["file"], step.args.get("fd", DEFAULT_FD)
    file = task.files.get(key)
    if file is None:
        file = task.files[key] = open_file(mapping, step.kernel.now).get()
    return file


def _ask(step: Step, call: str, file: OpenFile, covered: range | None = None) -> Sleeps:
    """Write back, then ask for errors; what stands in the mapping, or in a page, decides who is told."""
    task, (region, mapping) = step.task(), _file(step)
    failed = yield from write_back(step, mapping, covered)
    if not _returns(step, task):
        return
    lost_writes = step.machine.lost_writes
    error = filemap_check_errors(step.kernel, mapping, file)
    if error:
        lost_writes.watch(region).told(task.name, file, call)
    for page in failed:
        lost_writes.told_of_page(region, page.pgoff, task.name, file, call)
    step.result("EIO" if error or failed else 0)
    _rearm(step, mapping)


def _rearm(step: Step, mapping: AddressSpace) -> None:
    watch = step.machine.lost_writes.of(mapping)
    if watch is not None:
        watch.arm()


def fsync(step: Step) -> None:
    """fsync() and its like: write back, then ask for errors."""
    step.task()
    _, mapping = _file(step)
    carry_out(step, _ask(step, step.spec.verb, _descriptor(step, mapping)))


def msync(step: Step) -> None:
    """msync() of a mapping of the file, which asks through the struct file that was mapped (mm/msync.c)."""
    task, (_, mapping) = step.task(), _file(step)
    mapped = [vma.file for vma in task.vmas.values() if vma.mapping is mapping and vma.file is not None]
    if not mapped:
        raise step.error(f'task "{task.name}" does not map this file')
    carry_out(step, _ask(step, "msync", mapped[0]))


def sync(step: Step) -> None:
    """sync(): everything is written, and every error thrown away."""
    carry_out(step, _sync(step))


def _sync(step: Step) -> Sleeps:
    swallowed = []
    kernel = step.kernel
    for region in kernel.mem_map.regions:
        if region.kind in ("file", "blockdev") and region.mapping is not None:
            yield from write_back(step, region.mapping)
            if kernel.halted:
                return
            if region.has_cached_pages(kernel.mem_map.overlay) and wait_swallows(
                kernel, region.mapping, "sync"
            ):
                swallowed.append(region.name)
                step.machine.lost_writes.watch(region).swallowed("sync")
                _rearm(step, region.mapping)
    step.result(0, swallowed=swallowed)


def evict(step: Step) -> None:
    """The inode of an unused file leaves memory: written back first, its pages and its error go with it."""
    region, mapping = _file(step)
    if not mapping.evictable:
        raise step.error(
            f"an inode of {mapping.filesystem} stays in memory; allowed: a file on a disk or NFS"
        )
    if any(vma.alive for vma in mapping.vmas) or mapping.files:
        raise step.error("the file is open or mapped: its inode stays in memory")
    carry_out(step, _evict(step, region, mapping))


def _evict(step: Step, region: Region, mapping: AddressSpace) -> Sleeps:
    yield from write_back(step, mapping)
    for page in mapping.pages.values():
        page.buffers_busy = False  # what was written back is neither dirty nor locked
    yield from _remove(step, region, range(max(region.layout.pages, file_pages(region))))
    if step.kernel.halted:
        return
    lost = evict_inode(step.kernel, mapping)
    step.machine.lost_writes.evicted(region, lost=lost)
    step.result("an error is lost" if lost else 0)


def write_back(
    step: Step, mapping: AddressSpace, covered: range | None = None
) -> Generator[Any, Any, list[Page]]:
    """Every dirty page of the file, or of a range of it, goes to the disk: DMA reads it.

    write_cache_pages() takes each page's lock, and may find the page gone then.  The answer is the pages for
    which wait_on_page_writeback_range() says EIO: PG_error, which nobody clears, of those just written
    (mm/filemap.c, 2.6.30).
    """
    failed: list[Page] = []
    if not mapping.accounts_dirty:
        return failed
    for page in mapping.pages.values():
        step.up_to_now(page)
    if covered is None and mapping.host is not None:  # pages not looked at yet are clean, too
        mapping.host.written(step.kernel.now, whole_inode=step.spec.verb != "sync_file_range")
    for page in list(mapping.pages.values()):
        if covered is not None and page.pgoff not in covered:
            continue
        while is_dirty(page) and _is_locked(page):
            yield from step.kernel.wait_on_page(page)
        if page.mapping is mapping and is_dirty(page):
            clear_page_dirty_for_io(page)
            mapping.holes.discard(range(page.pgoff, page.pgoff + 1))
            read_by_device(step, page)
            if step.kernel.halted:
                return failed
            if page.flags & pg.ERROR:
                failed.append(page)
    if covered is not None and mapping.host is not None and not _more_is_dirty(step, mapping, mapping.host):
        mapping.host.written(step.kernel.now)
    return failed


def _more_is_dirty(step: Step, mapping: AddressSpace, inode: Inode) -> bool:
    """mapping_tagged(PAGECACHE_TAG_DIRTY): then an inode of which a range was written keeps its age."""
    stored = inode.first_store_ns(step.kernel.now) is not None
    return stored or any(is_dirty(page) for page in mapping.pages.values())


def read_by_device(step: Step, page: Page) -> None:
    """The disk controller reads the page."""
    story = step.machine.live_story(page.pfn)
    if story is not None and story.line_is_bad:
        story.device_read()


def open_(step: Step) -> None:
    """open(): a new session; it tells nobody anything."""
    task, (_, mapping) = step.task(), _file(step)
    key = step.args["file"], step.args.get("fd", DEFAULT_FD)
    if task.files.get(key) is not None:
        raise step.error("this descriptor is open already")
    task.files[key] = open_file(mapping, step.kernel.now).get()
    step.result(0)


def close(step: Step) -> None:
    """close(): some file systems write back and report an error here."""
    task, (_, mapping) = step.task(), _file(step)
    carry_out(step, _close(step, task, _descriptor(step, mapping)))


def _close(step: Step, task: Task, file: OpenFile) -> Sleeps:
    region, mapping = _file(step)
    last_of_device = mapping.is_block_device and mapping.files == [file] and file.users == 1
    if last_of_device or close_reports(step.kernel, mapping):
        yield from write_back(step, mapping)
        if not _returns(step, task):
            return
    failed = close_file(step.kernel, file)
    task.files[step.args["file"], step.args.get("fd", DEFAULT_FD)] = None
    if failed:
        step.machine.lost_writes.watch(region).told(task.name, file, "close")
    file_left(step.machine, mapping)
    step.result("EIO" if failed else 0)


def truncate(step: Step) -> None:
    """ftruncate(): the file ends after ``pages`` pages; what lies beyond its old end is a hole."""
    region, mapping = _file(step)
    pages, old = step.args["pages"], file_pages(region)
    if mapping.is_block_device:
        step.result("EINVAL")
        return
    mapping.size_pages = pages
    mapping.holes.add(range(min(pages, old), max(pages, old)))
    cut = range(pages, max(region.layout.pages, old))
    if cut:
        _forget(step, region, cut)
        let_go(step, unmap_mapping_range(mapping, cut, even_cows=True))
        carry_out(step, _cut(step, region, cut))


def punch(step: Step) -> None:
    """A hole, where the kernel can make one: the pages go, and the disk has zeroes there."""
    region, mapping = _file(step)
    hole = range(step.args["index"], step.args["index"] + step.args["pages"])
    unmapped = step.kernel.profile.punch_hole(mapping, hole)
    if unmapped is None:
        step.result("ENOSYS")
        return
    mapping.holes.add(hole)
    _forget(step, region, hole)
    let_go(step, unmapped)
    carry_out(step, _cut(step, region, hole))


def _forget(step: Step, region: Region, cut: range) -> None:
    """Whatever was written there, nobody wants it any more: what an error took of it is no loss."""
    for page in step.kernel.mem_map.overlay.values():
        if page.region is region and page.pgoff in cut:
            page.lost_bytes = 0
    step.machine.lost_writes.truncated(region, cut)


def _cut(step: Step, region: Region, cut: range) -> Sleeps:
    """What was mapped again while truncate_inode_pages_range() slept goes once more at its end."""
    mapping = region.mapping
    assert mapping is not None
    yield from _remove(step, region, cut)
    if not step.kernel.halted:
        let_go(step, unmap_mapping_range(mapping, cut, even_cows=True))


def _remove(step: Step, region: Region, cut: range) -> Sleeps:
    """truncate_inode_pages_range(): page by page, each under its lock and not under writeback.

    Pages that nobody has looked at are known to be gone; only those of interest cost anything.  Where the
    script itself has the page lock it is the one that truncates, and does not wait.
    """
    mapping, kernel = region.mapping, step.kernel
    assert mapping is not None
    mapping.gone.add(cut)
    for pgoff in [each for each in mapping.slots if each in cut]:
        del mapping.slots[pgoff]
    for pgoff in sorted(each for each in mapping.swapped if each in cut):
        page = mapping.swapped.pop(pgoff)
        if not page.flags & (pg.LOCKED | pg.WRITEBACK):  # free_swap_and_cache() only tries the lock
            delete_from_swap_cache(page)
            step.drop_if_unused(page)
    found = [page for pgoff, page in sorted(mapping.pages.items()) if pgoff in cut]
    for page in found:
        while _is_locked(page) or page.flags & pg.WRITEBACK:
            yield from kernel.wait_on_page(page)
        if page.mapping is mapping:
            truncate_inode_page(mapping, page)
            kernel.event("truncated", pfn=page.pfn)
            step.drop_if_unused(page)
            step.changed(page)


VERBS: dict[str, Callable[[Step], None]] = {
    "read": read,
    "write": write,
    "fsync": fsync,
    "fdatasync": fsync,
    "sync_file_range": fsync,
    "evict": evict,
    "msync": msync,
    "sync": sync,
    "open": open_,
    "close": close,
    "truncate": truncate,
    "punch": punch,
}
