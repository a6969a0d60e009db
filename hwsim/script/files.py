"""Verbs of files: read and write by system call, writing back, and who is told of a lost write."""

from __future__ import annotations

from collections.abc import Callable

from hwsim.bad_lines import discovery
from hwsim.engine import Steps
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.filemap import (
    close_file,
    evict_inode,
    file_left,
    fsync_error,
    open_file,
    wait_swallows,
)
from hwsim.kernel.mm.memory import STALE, ZEROES, unmap_mapping_range
from hwsim.kernel.mm.page_alloc import put_page
from hwsim.kernel.mm.page_cache import (
    answers_eio,
    delete_from_swap_cache,
    has_cached_pages,
    set_page_uptodate,
    truncate_inode_page,
)
from hwsim.kernel.mm.page_lock import wait_on_page, wait_on_page_writeback
from hwsim.kernel.mm.swap import shmem_getpage
from hwsim.kernel.mm_types import AddressSpace, OpenFile, Region, Task
from hwsim.record import Found, Swallowed, ToldBy
from hwsim.script.frames import changed, let_go, line_overwritten, stored_to, up_to_now
from hwsim.script.names import within
from hwsim.script.pages import cached, file_of
from hwsim.script.reading_in import bring_in, lost_pages, new_cached_page
from hwsim.script.step import Step, carry_out, returns
from hwsim.script.touch import CONSUMED, user_buffer
from hwsim.script.writeback import is_locked, write_back


def _file(step: Step) -> tuple[Region, AddressSpace]:
    region = file_of(step, step.args["file"])
    assert region.mapping is not None
    return region, region.mapping


def _index(step: Step, region: Region) -> int:
    """The page that a step reads or writes: files are simulated as far as they are cached."""
    index = int(step.args["index"])
    within(step, index, region.layout.pages, f"the cached part of {step.args['file']}", "index")
    return index


def read(step: Step) -> None:
    """read(): from the page cache, or read in from the disk.  AS_EIO is never looked at."""
    step.task()
    region, _ = _file(step)
    index = _index(step, region)
    if index >= region.size_pages:
        step.result("end of file")
        return
    page, result = bring_in(step, region, index)
    if page is None or not page.flags & pg.UPTODATE or answers_eio(step.kernel, page):
        step.result("EIO")
        return
    line = step.bad_line(page.pfn)
    if line is not None:
        step.result(CONSUMED)  # now: the run may end in the next line
        discovery.consumed(line, Found.KERNEL_LOAD, step.args["task"])
        return
    if user_buffer(step):
        step.result("EFAULT")
        return
    if result in (STALE, ZEROES):
        step.kernel.files.read(region, index)
    step.result(result)


def write(step: Step) -> None:
    """write() of a whole page: it is dirty in the cache, and a transiently bad line is healed."""
    task = step.task()
    _index(step, _file(step)[0])
    if user_buffer(step):
        step.result("EFAULT")
        return
    carry_out(step, _write(step, task))


def _write(step: Step, task: Task) -> Steps:
    region, mapping = _file(step)
    index = step.args["index"]
    page = cached(step, region, index)
    while page is not None and is_locked(page):
        yield from wait_on_page(step.kernel, page)
        page = cached(step, region, index)  # memory_failure() may have dropped it
    if not returns(step, task):
        return
    if page is not None and (
        answers_eio(step.kernel, page) or (page.flags & pg.SWAPCACHE and not shmem_getpage(page))
    ):
        step.result("EIO")
        return
    if page is None:
        page = new_cached_page(step, region, index)
    line_overwritten(step, page)
    stored_to(step, page)
    set_page_uptodate(page)
    mapping.holes.discard(range(index, index + 1))
    if mapping.size_pages is not None:
        mapping.size_pages = max(mapping.size_pages, index + 1)
    for old in lost_pages(step, region, index):
        old.lost_bytes = 0
    step.kernel.files.written(region, index)
    page.writer = step.args["task"]
    changed(step, page)
    if step.args["sync"]:
        yield from _ask(step, ToldBy.O_SYNC, _descriptor(step, mapping), range(index, index + 1))
        return
    step.result("ok", pfn=page.pfn)


def _descriptor(step: Step, mapping: AddressSpace) -> OpenFile:
    """The struct file that the step names; one that was closed is opened anew."""
    task = step.task()
    key = step.args["file"], step.args["fd"]
    file = task.files.get(key)
    if file is None:
        file = task.files[key] = open_file(mapping, step.kernel.engine.now_ns).get()
    return file


def _ask(step: Step, call: str, file: OpenFile, covered: range | None = None) -> Steps:
    """Write back, then ask for errors; what stands in the mapping, or in a page, decides who is told."""
    task, (region, mapping) = step.task(), _file(step)
    failed = yield from write_back(step, mapping, covered)
    if not returns(step, task):
        return
    kernel = step.kernel
    error = fsync_error(kernel, region, call, file)
    if error:
        kernel.files.told(region, task.name, file, call)
    for page in failed:
        kernel.files.told_of_page(region, page.pgoff, task.name, file, call)
    step.result("EIO" if error or failed else 0)
    kernel.files.readers_changed(mapping)


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
        known = {
            vma.mapping.name.removeprefix("file:") for vma in task.vmas.values() if vma.mapping and vma.file
        }
        raise step.error(f'task "{task.name}" does not map this file', "file", allowed=sorted(known))
    carry_out(step, _ask(step, ToldBy.MSYNC, mapped[0]))


def sync(step: Step) -> None:
    """sync(): everything is written, and every error thrown away."""
    carry_out(step, _sync(step))


def _sync(step: Step) -> Steps:
    swallowed = []
    kernel = step.kernel
    for region in kernel.mem_map.regions:
        if region.layout.is_file and region.mapping is not None:
            yield from write_back(step, region.mapping)
            if kernel.halted:
                return
            has_pages = has_cached_pages(region, kernel.mem_map.overlay, kernel.engine.now_ns)
            if has_pages and wait_swallows(kernel, region.mapping, "sync"):
                swallowed.append(region.name)
                kernel.files.swallowed(region, Swallowed.SYNC)
    step.result(0, swallowed=swallowed)


def evict(step: Step) -> None:
    """The inode of an unused file leaves memory: written back first, its pages and its error go with it."""
    region, mapping = _file(step)
    if not mapping.evictable:
        text = f"an inode of {mapping.filesystem} stays in memory"
        raise step.mistake(text, "file", allowed="a file on ext2, ext3, ext4, xfs or nfs")
    if any(vma.alive for vma in mapping.vmas) or mapping.files:
        allowed = "a file that nobody has open or mapped"
        raise step.error("the file is open or mapped: its inode stays in memory", "file", allowed=allowed)
    carry_out(step, _evict(step, region, mapping))


def _evict(step: Step, region: Region, mapping: AddressSpace) -> Steps:
    yield from write_back(step, mapping)
    for page in mapping.pages.values():
        page.buffers_busy = False  # what was written back is neither dirty nor locked
    yield from _remove(step, region, range(max(region.layout.pages, region.size_pages)))
    if step.kernel.halted:
        return
    lost = evict_inode(step.kernel, mapping)
    step.result("an error is lost" if lost else 0)


def open_(step: Step) -> None:
    """open(): a new session; it tells nobody anything."""
    task, (_, mapping) = step.task(), _file(step)
    key = step.args["file"], step.args["fd"]
    if task.files.get(key) is not None:
        raise step.error("this descriptor is open already", "fd", allowed="another name")
    task.files[key] = open_file(mapping, step.kernel.engine.now_ns).get()
    step.result(0)


def close(step: Step) -> None:
    """close(): some file systems write back and report an error here."""
    task, (_, mapping) = step.task(), _file(step)
    carry_out(step, _close(step, task, _descriptor(step, mapping)))


def _close(step: Step, task: Task, file: OpenFile) -> Steps:
    region, mapping = _file(step)
    last_of_device = mapping.is_block_device and mapping.files == [file] and file.users == 1
    if last_of_device or step.kernel.profile.close_reports(mapping):
        yield from write_back(step, mapping)
        if not returns(step, task):
            return
    failed = close_file(step.kernel, file)
    task.files[step.args["file"], step.args["fd"]] = None
    if failed:
        step.kernel.files.told(region, task.name, file, ToldBy.CLOSE)
    file_left(step.kernel, mapping)
    step.result("EIO" if failed else 0)


def truncate(step: Step) -> None:
    """ftruncate(): the file ends after ``pages`` pages; what lies beyond its old end is a hole."""
    region, mapping = _file(step)
    pages, whole, old = step.args["pages"], region.layout.pages, region.size_pages
    if pages > whole:
        text = f"longer than the cached part of {step.args['file']}"
        raise step.mistake(text, "pages", allowed=f"0 to {whole}")
    if mapping.is_block_device:
        step.result("EINVAL")
        return
    mapping.size_pages = pages
    mapping.holes.add(range(min(pages, old), max(pages, old)))
    cut = range(pages, max(region.layout.pages, old))
    if cut:
        _forget(step, region, cut)
        let_go(step, unmap_mapping_range(mapping, cut))
        carry_out(step, _cut(step, region, cut))


def punch(step: Step) -> None:
    """A hole in a file, whoever maps it."""
    region, _ = _file(step)
    first, pages, whole = step.args["index"], step.args["pages"], region.layout.pages
    if first + pages > whole:
        text = f"pages {first} to {first + pages - 1}, but the cached part of {step.args['file']} has {whole}"
        raise step.mistake(text, "index", allowed=f"0 to {whole - 1}")
    punch_hole(step, region, range(first, first + pages))


def punch_hole(step: Step, region: Region, hole: range) -> None:
    """Where the kernel can make one the pages go, and what is read there is zeroes."""
    mapping = region.mapping
    assert mapping is not None
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
    step.kernel.files.truncated(region, cut)


def _cut(step: Step, region: Region, cut: range) -> Steps:
    """What was mapped again while truncate_inode_pages_range() slept goes once more at its end."""
    mapping = region.mapping
    assert mapping is not None
    yield from _remove(step, region, cut)
    if not step.kernel.halted:
        let_go(step, unmap_mapping_range(mapping, cut))


def _remove(step: Step, region: Region, cut: range) -> Steps:
    """truncate_inode_pages_range(): page by page, each under its lock and not under writeback.

    Pages that nobody has looked at are known to be gone; only those of interest cost anything.  Where the
    script itself has the page lock it is the one that truncates, and does not wait.
    """
    mapping, kernel = region.mapping, step.kernel
    assert mapping is not None
    mapping.gone.add(cut)
    mapping.read_again = {pgoff: time for pgoff, time in mapping.read_again.items() if pgoff not in cut}
    for pgoff in [each for each in mapping.slots if each in cut]:
        del mapping.slots[pgoff]
    for pgoff in sorted(each for each in mapping.swapped if each in cut):
        page = mapping.swapped.pop(pgoff)
        if not page.flags & (pg.LOCKED | pg.WRITEBACK):  # free_swap_and_cache() only tries the lock
            delete_from_swap_cache(page)
            put_page(step.kernel, page)
    found = [page for pgoff, page in sorted(mapping.pages.items()) if pgoff in cut]
    for page in found:
        up_to_now(step, page)
        while is_locked(page) or page.flags & pg.WRITEBACK:
            if is_locked(page):
                yield from wait_on_page(kernel, page)
            else:
                yield from wait_on_page_writeback(kernel, page)
        if page.mapping is mapping:
            truncate_inode_page(mapping, page)
            kernel.event("truncated", pfn=page.pfn)
            put_page(step.kernel, page)
            changed(step, page)


PLAYS: dict[str, Callable[[Step], None]] = {
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
