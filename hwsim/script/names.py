"""What a step names must be there when it is due: its task, file and region, a page, a buffer, a range.

All of it is looked for before the step does anything, so that everything that is missing is told at once.
"""

from __future__ import annotations

from collections.abc import Callable

from hwsim.kernel.mm.mmap import find_range
from hwsim.kernel.mm_types import Task
from hwsim.memory.kinds import FILE, REGIONS, named
from hwsim.script.pages import (
    beyond,
    file_of,
    first_pgoff,
    kernel_memory,
    living,
    not_mapped,
    target_of,
    vmas_of,
)
from hwsim.script.step import ScriptError, Step
from hwsim.script.verbs import VERBS

# These verbs may name a frame that does not exist: memory_failure() has an exit for it.
_REPORTS = ("mce", "inject")


def missing(step: Step) -> list[ScriptError]:
    """Everything that the step names and that is not there; raises StepSkipped if an error took it away."""
    found = []
    for check in (_task, _file, _page, _buffer, _range, _new_name, _new_mapping):
        try:
            check(step)
        except ScriptError as error:
            found.append(error)
    return found


def _task(step: Step) -> None:
    if "task" in step.args:
        step.member()


def _file(step: Step) -> None:
    if "file" in step.args:
        file_of(step, step.args["file"])


def _page(step: Step) -> None:
    if "page" in step.args:
        _one_page(step, "page")


def _buffer(step: Step) -> None:
    if "buffer" not in step.args:
        return
    task = step.args["task"]
    if step.args["buffer"].get("region", "").partition("/")[0] != task:
        allowed = f'{{ region = "{task}/name", index = 0 }}'
        raise step.mistake("a buffer is a page of the task's own memory", "buffer", allowed=allowed)
    _one_page(step, "buffer")


def _one_page(step: Step, key: str) -> None:
    ref = step.args[key]
    next(check for name, check in _FORMS.items() if name in ref)(step, key)


def _of_file(step: Step, key: str) -> None:
    ref = step.args[key]
    cached = file_of(step, ref["file"], key, "file").layout.pages
    within(step, ref["index"], cached, f"the cached part of {ref['file']}", key, "index")


def _of_kernel(step: Step, key: str) -> None:
    ref = step.args[key]
    pages = kernel_memory(step, ref["kernel"], key, "kernel").layout.pages
    within(step, ref["index"], pages, ref["kernel"], key, "index")


def _free(step: Step, key: str) -> None:
    pages = step.kernel.mem_map.by_name["free"].layout.pages
    within(step, step.args[key]["free"], pages, "free memory", key, "free")


def _frame(step: Step, key: str) -> None:
    verb, pfn, machine = step.spec.verb, step.args[key]["pfn"], step.kernel.spec
    line = step.args.get("how") == "line"
    if verb in _REPORTS and not line:
        return
    fitted = machine.hidden_pages if line or verb == "scrub" else 0  # a bad line needs no struct page
    if pfn >= machine.memory_pages + fitted:
        raise beyond(step, pfn, machine.memory_pages + fitted, key, "pfn")


_FORMS: dict[str, Callable[[Step, str], object]] = {
    "region": target_of,
    "file": _of_file,
    "kernel": _of_kernel,
    "free": _free,
    "pfn": _frame,
}


def within(step: Step, index: int, pages: int, what: str, *key: str) -> None:
    """Refuse a page number that ``what`` does not have."""
    if index >= pages:
        allowed = f"0 to {pages - 1}" if pages else "nothing: it is empty"
        raise step.mistake(f"{what} has {pages} pages", *key, allowed=allowed)


def _range(step: Step) -> None:
    """The region of the step's task, and a range of its pages."""
    task, args = _living(step), step.args
    if task is None or "region" not in args:
        return
    vmas_of(step, task, args["region"])
    if "first" in args:
        first, pages = args["first"], args["pages"]
        pieces = find_range(task, args["region"], first + first_pgoff(task, args["region"]), pages)
        if sum(len(covered) for _, covered in pieces) != pages:
            raise not_mapped(step, task, args["region"], first, pages, "first")


def _living(step: Step) -> Task | None:
    """The step's task, if it has one that lives."""
    try:
        return step.task() if "task" in step.args else None
    except ScriptError:
        return None


def _new_name(step: Step) -> None:
    """A task's regions have different names."""
    task = _living(step)
    if task is None:
        return
    names = {vma.name for vma in task.vmas.values()}
    for key, arg in VERBS[step.spec.verb].args.items():
        if arg.kind == "new_region" and step.args[key] in names:
            text = f'task "{task.name}" maps a region "{step.args[key]}" already'
            raise step.error(text, key, allowed="another name")


def _new_mapping(step: Step) -> None:
    """mmap() of a file needs the file, and no more of it than is cached; of anything else a size."""
    if step.spec.verb != "mmap":
        return
    args, kind = step.args, step.args["kind"]
    use = REGIONS[kind]
    if use.of_file and "file" not in args:
        raise step.mistake("a mapping needs the file", "file", allowed=living(step, "file:"))
    if not use.of_file and "file" in args:
        raise step.mistake(f"a region of kind {kind} has no file", "file", allowed=named([FILE]))
    if not use.of_file and "pages" not in args:
        raise step.mistake("mmap needs this argument", "size", allowed='such as "16 KiB"')
    if use.of_file and args.get("pages", 0) > (cached := file_of(step, args["file"]).layout.pages):
        text = f'larger than the cached part of "{args["file"]}"'
        raise step.mistake(text, "size", allowed=f"up to {cached * 4} KiB")
    if use.sharing and args.get("shared", use.shared) != use.shared:
        raise step.mistake(f"not for kind {kind}", "shared", allowed=str(use.shared).lower())
