"""Checks of script steps: verbs, arguments, and that each step can happen when it is due.

The steps are walked in order of time with a small picture of the machine: which tasks live, which
regions they map, which pages they have unmapped, which blocks the kernel holds.  What chance does
in between (kills, reclaim) is not foreseen here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hwsim import units
from hwsim.scenario.arguments import compiled, shape
from hwsim.scenario.parts import PINNED, SHARED_BY_DEFAULT, Parts, cached_pages, free_pages, show_pages
from hwsim.scenario.picture import Mapped, Picture, TaskPicture
from hwsim.scenario.problems import Finding, Path, nearby_name, one_of
from hwsim.scenario.verbs import VERBS

_TASK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?:\.[0-9]+)+")


def check_steps(parts: Parts) -> Iterator[Finding]:
    """Everything that is wrong with the script."""
    valid: list[tuple[int, int, str, dict[str, Any]]] = []
    for index, step in enumerate(parts.script):
        if step is None:
            continue
        path: Path = ("script", index)
        if parts.horizon_ns is not None and step.at >= parts.horizon_ns:
            last = units.format_duration(parts.horizon_ns)
            yield Finding((*path, "at"), "not before the horizon", f"less than {last}")
        given = dict(step.__pydantic_extra__ or {})
        findings = list(_arguments(path, step.do, given, parts))
        yield from findings
        if not findings:
            valid.append((step.at, index, step.do, compiled(step.do, given)))
    picture = Picture(parts)
    for at_ns, index, do, args in sorted(valid, key=lambda entry: entry[:2]):
        yield from _Walk(parts, picture, at_ns, index, do, args).run()


def _arguments(path: Path, do: str, given: dict[str, Any], parts: Parts) -> Iterator[Finding]:
    verb = VERBS.get(do)
    if verb is None:
        yield Finding((*path, "do"), "unknown verb", one_of(VERBS, 60), nearby_name(do, VERBS))
        return
    takes = f"{do} takes {', '.join(verb.args) or 'no arguments'}"
    for key in given:
        if key not in verb.args:
            yield Finding(
                (*path, key), f"{do} has no argument of this name", takes, nearby_name(key, verb.args)
            )
    for key, arg in verb.args.items():
        if key not in given:
            if arg.required:
                yield Finding((*path, key), f"{do} needs this argument", takes)
            continue
        yield from shape((*path, key), arg, given[key], parts)


class _Walk:
    """One step against the picture of the machine at its time."""

    def __init__(
        self, parts: Parts, picture: Picture, at_ns: int, index: int, do: str, args: dict[str, Any]
    ) -> None:
        self.parts = parts
        self.picture = picture
        self.at_ns = at_ns
        self.path: Path = ("script", index)
        self.do = do
        self.args = args
        given = (step.__pydantic_extra__ or {}).get("page") if (step := parts.script[index]) else None
        self.by_address = isinstance(given, dict) and "address" in given  # compiled() made it a pfn

    def run(self) -> Iterator[Finding]:
        """Check the step, then do it to the picture if it can be done."""
        findings = list(self._names())
        if not findings:
            findings = list(self._possible())
        yield from findings
        if not findings:
            self._apply()

    def _at(self, *keys: str | int) -> Path:
        return (*self.path, *keys)

    # -- names ---------------------------------------------------------------------------------

    def _names(self) -> Iterator[Finding]:
        if "task" in self.args:
            yield from self._task(self._at("task"), self.args["task"])
        if "file" in self.args and self.args["file"] not in self.parts.raw_names("file"):
            names = self.parts.raw_names("file")
            message = f'no file has the name "{self.args["file"]}"'
            yield Finding(self._at("file"), message, one_of(names), nearby_name(self.args["file"], names))
        if self.do == "free" and self.args["name"] not in self.picture.blocks:
            names = list(self.picture.blocks)
            message = "no block of this name is allocated at this time"
            yield Finding(self._at("name"), message, one_of(names), nearby_name(self.args["name"], names))
        if "page" in self.args:
            yield from self._page(self._at("page"), self.args["page"])
        if "buffer" in self.args:
            yield from self._buffer(self._at("buffer"), self.args["buffer"])

    def _buffer(self, path: Path, page: dict[str, Any]) -> Iterator[Finding]:
        task = self.args["task"]
        if page.get("region", "").partition("/")[0] != task:
            allowed = f'{{ region = "{task}/name", index = 0 }}'
            yield Finding(path, "a buffer is a page of the task's own memory", allowed)
            return
        yield from self._page(path, page)

    def _task(self, path: Path, name: str) -> Iterator[Finding]:
        task = self.picture.task(name, self.at_ns)
        if isinstance(task, TaskPicture) or self.picture.is_unreadable(name):
            return
        if task is not None:
            yield Finding(path, f'"{name}" {task}', "a task that lives at this time")
            return
        names = self.picture.examples(name)
        hint = nearby_name(name, names)
        if not _TASK_NAME.fullmatch(name):
            hint = f"{name}.0" if f"{name}.0" in names else hint
        yield Finding(path, f'no task has the name "{name}"', one_of(names, 8), hint)

    def _region(self, path: Path, task: str, name: str) -> tuple[Mapped | None, list[Finding]]:
        found = self.picture.task(task, self.at_ns)
        if not isinstance(found, TaskPicture):
            return None, []
        region = found.regions.get(name)
        if region is None:
            known = list(found.regions)
            message = f'"{task}" maps no region of the name "{name}" at this time'
            return None, [Finding(path, message, one_of(known), nearby_name(name, known))]
        return region, []

    def _page(self, path: Path, page: dict[str, Any]) -> Iterator[Finding]:
        if "region" in page:
            task, _, name = page["region"].partition("/")
            problems = list(self._task((*path, "region"), task))
            if problems:
                yield from problems
                return
            region, problems = self._region((*path, "region"), task, name)
            yield from problems
            if region is not None:
                yield from _in_range((*path, "index"), page["index"], region.pages, page["region"])
                gone = region.hole(page["index"])
                if gone is not None:
                    yield Finding(
                        (*path, "index"), f"this page was unmapped by script[{gone}]", "a mapped page"
                    )
        elif "file" in page:
            names = self.parts.raw_names("file")
            if page["file"] not in names:
                message = f'no file has the name "{page["file"]}"'
                yield Finding((*path, "file"), message, one_of(names), nearby_name(page["file"], names))
            elif page["file"] in self.parts.files():
                pages = cached_pages(self.parts.files()[page["file"]])
                yield from _in_range(
                    (*path, "index"), page["index"], pages, f"the cached part of {page['file']}"
                )
        elif "kernel" in page:
            blocks = self.picture.kernel_blocks()
            if page["kernel"] not in blocks and page["kernel"] not in self.parts.raw_names("kernel", "kind"):
                message = f'no kernel memory has the name "{page["kernel"]}" at this time'
                yield Finding((*path, "kernel"), message, one_of(blocks), nearby_name(page["kernel"], blocks))
            elif page["kernel"] in blocks:
                yield from _in_range((*path, "index"), page["index"], blocks[page["kernel"]], page["kernel"])
        elif "free" in page and self.parts.complete:
            yield from _in_range((*path, "free"), page["free"], max(free_pages(self.parts), 0), "free memory")
        elif "pfn" in page and not self._reports_only() and self.parts.machine is not None:
            pages = self.parts.machine.memory + self.parts.machine.hidden
            if not self.by_address:
                yield from _in_range((*path, "pfn"), page["pfn"], pages, "the memory")
            elif page["pfn"] >= pages:
                message = f"the memory ends at {pages << 12:#x}"
                yield Finding((*path, "address"), message, f'"0x0" to "{(pages << 12) - 1:#x}"')

    def _reports_only(self) -> bool:
        """A report may name a frame that does not exist: memory_failure() has an exit for it."""
        return self.do == "mce" or (self.do == "inject" and self.args.get("how") != "line")

    # -- can it happen -------------------------------------------------------------------------

    def _possible(self) -> Iterator[Finding]:
        args = self.args
        if "region" in args:
            region, problems = self._region(self._at("region"), args["task"], args["region"])
            yield from problems
            if region is not None and "first" in args:
                yield from self._range("first", args["first"], args["pages"], region.pages, args["region"])
                gone = region.hole(args["first"], args["pages"])
                if gone is not None:
                    message = f"part of this range was unmapped by script[{gone}]"
                    yield Finding(self._at("first"), message, "mapped pages")
        if self.do in {"mmap", "mremap"}:
            yield from self._new_region(args["name"] if self.do == "mmap" else args["to"])
        if self.do in {"read", "write", "truncate", "punch"}:
            yield from self._file_range()
        if self.do == "evict" and (file := self.parts.files().get(args["file"])) is not None:
            if file.filesystem in PINNED:
                allowed = "a file on ext2, ext3, ext4, xfs or nfs"
                yield Finding(self._at("file"), f"an inode of {file.filesystem} stays in memory", allowed)
        if self.do == "alloc":
            if args["name"] in self.picture.kernel_blocks():
                yield Finding(self._at("name"), "this name is taken", "a name that no pool or block has")
            yield from self._fits(1 << args["order"], "order")
        if self.do in {"load", "store"}:
            yield from self._reachable()
        if self.do == "msync" and (task := self._living()) is not None:
            mapped = [r.file for r in task.regions.values() if r.file is not None]
            if args["file"] not in mapped:
                yield Finding(self._at("file"), f'"{args["task"]}" does not map this file', one_of(mapped))

    def _living(self) -> TaskPicture | None:
        task = self.picture.task(self.args["task"], self.at_ns)
        return task if isinstance(task, TaskPicture) else None

    def _range(self, key: str, first: int, count: int, pages: int | None, what: str) -> Iterator[Finding]:
        if pages is not None and first + count > pages:
            message = f"pages {first} to {first + count - 1}, but {what} has {pages}"
            yield Finding(self._at(key), message, f"0 to {pages - 1}")

    def _new_region(self, name: str) -> Iterator[Finding]:
        task = self._living()
        key = "name" if self.do == "mmap" else "to"
        if task is not None and name in task.regions:
            yield Finding(self._at(key), "this task already maps a region of this name", "another name")
        if self.do != "mmap":
            return
        kind, file = self.args["kind"], self.args.get("file")
        if kind == "file" and file is None:
            yield Finding(self._at("file"), "a mapping needs the file", one_of(self.parts.raw_names("file")))
        if kind != "file" and file is not None:
            yield Finding(self._at("file"), f"a region of kind {kind} has no file", 'kind = "file"')
        pages = self.args.get("pages")
        if kind != "file" and pages is None:
            yield Finding(self._at("size"), "mmap needs this argument", 'such as "16 KiB"')
        elif kind != "file" and pages is not None:
            yield from self._fits(pages, "size")
        elif file in self.parts.files() and pages is not None:
            cached = cached_pages(self.parts.files()[file])
            if pages > cached:
                message = f'larger than the cached part of "{file}"'
                yield Finding(self._at("size"), message, f"up to {show_pages(cached)}")
        if kind in {"anon", "shm", "file"} and self.args["shared"] != SHARED_BY_DEFAULT[kind]:
            yield Finding(self._at("shared"), f"not for kind {kind}", str(SHARED_BY_DEFAULT[kind]).lower())

    def _fits(self, pages: int, key: str) -> Iterator[Finding]:
        if self.parts.complete and pages > max(free_pages(self.parts), 0):
            yield Finding(
                self._at(key), "more than the free memory", show_pages(max(free_pages(self.parts), 0))
            )

    def _file_range(self) -> Iterator[Finding]:
        file = self.parts.files().get(self.args["file"])
        if file is None:
            return
        cached = cached_pages(file)
        what = f"the cached part of {file.name}"
        if self.do == "truncate":
            if self.args["pages"] > cached:
                yield Finding(self._at("pages"), f"longer than {what}", f"0 to {cached}")
        elif self.do == "punch":
            yield from self._range("index", self.args["index"], self.args["pages"], cached, what)
        else:
            yield from _in_range(self._at("index"), self.args["index"], cached, what)

    def _reachable(self) -> Iterator[Finding]:
        """A task touches only what it maps: the same page of its own region, or a mapped file."""
        page, task = self.args["page"], self._living()
        path = self._at("page")
        if "kernel" in page or "free" in page:
            yield Finding(
                path, f"a task cannot {self.do} this page", "a page of a region or of a mapped file"
            )
        if task is None:
            return
        if "region" in page:
            owner, _, name = page["region"].partition("/")
            if owner != self.args["task"]:
                if self.picture.family(owner) != self.picture.family(self.args["task"]):
                    message = f'"{self.args["task"]}" does not map memory of "{owner}"'
                    yield Finding(path, message, f'a region of "{self.args["task"]}"')
                elif name not in task.regions or task.regions[name].hole(page["index"]) is not None:
                    message = f'"{self.args["task"]}" does not map this page'
                    yield Finding(path, message, one_of(task.regions))
        elif "file" in page:
            sizes = [r.pages for r in task.regions.values() if r.file == page["file"] and r.pages is not None]
            if not sizes:
                yield Finding(path, f'"{self.args["task"]}" does not map this file', one_of(task.regions))
            elif page["index"] >= max(sizes):
                yield Finding(path, "beyond the mapped part of the file", f"0 to {max(sizes) - 1}")

    # -- and it happens ------------------------------------------------------------------------

    def _apply(self) -> None:
        args, task = self.args, self._living() if "task" in self.args else None
        if self.do == "reboot":
            self.picture.reboot(self.at_ns)
        elif self.do == "alloc":
            self.picture.blocks[args["name"]] = 1 << args["order"]
        elif self.do == "free":
            del self.picture.blocks[args["name"]]
        elif task is None:
            return
        elif self.do == "fork":
            self.picture.fork(args["task"], self.at_ns)
        elif self.do == "exit":
            self.picture.exit(args["task"], self.at_ns)
        elif self.do == "mmap":
            pages = args.get("pages")
            if pages is None and args.get("file") in self.parts.files():
                pages = cached_pages(self.parts.files()[args["file"]])
            task.regions[args["name"]] = Mapped(pages, args.get("file"))
        elif self.do in {"munmap", "mremap"}:
            region = task.regions[args["region"]]
            region.holes.append((args["first"], args["pages"], int(self.path[1])))
            if self.do == "mremap":
                task.regions[args["to"]] = Mapped(args["pages"], region.file)
            elif region.all_gone():
                del task.regions[args["region"]]


def _in_range(path: Path, index: int, pages: int | None, what: str) -> Iterator[Finding]:
    if pages is not None and index >= pages:
        allowed = f"0 to {pages - 1}" if pages else "nothing: it is empty"
        yield Finding(path, f"{what} has {pages} pages", allowed)
