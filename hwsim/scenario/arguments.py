"""One argument of a script step: is it of the right kind, and how the model gets it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, get_args

from hwsim import units
from hwsim.hardware.mce_record import MceTextError
from hwsim.hardware.mce_text import read_mce
from hwsim.kernel.versions import KERNELS
from hwsim.memory.kinds import REGIONS
from hwsim.scenario.fields import NAME, NAME_ALLOWED, Flag, Form, PositivePages, whole
from hwsim.scenario.problems import Finding, Path, nearby_name, one_of
from hwsim.scenario.valid_parts import Parts
from hwsim.script.verbs import ARG_KINDS, PAGE_FORMS, VERBS, Arg, page_forms, with_defaults
from hwsim.spec import MAX_CPUS
from hwsim.units import LINE_SHIFT, LINES_PER_PAGE, MAX_PFN, PAGE_SHIFT

_TASK_NUMBERS = re.compile(r"(?:\.(?:0|[1-9][0-9]*))+")
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
_PAGE = " or ".join([", ".join(page_forms()[:-1]), page_forms()[-1]])


FORMS: Final[dict[str, Form]] = {  # of arguments that are written as a key of a table would be
    **{kind: whole(each.low, each.high) for kind, each in ARG_KINDS.items() if each.high is not None},
    "bool": get_args(Flag)[1],
    "size": get_args(PositivePages)[1],
}


def _cpus(parts: Parts) -> int:
    return parts.machine.cpus if parts.machine else MAX_CPUS


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def shape(path: Path, arg: Arg, value: Any, parts: Parts) -> Iterator[Finding]:
    """Mistakes in one argument that show without looking at other tables (CPUs and flags excepted)."""
    kind = arg.kind
    form = whole(0, _cpus(parts) - 1) if kind == "cpu" else FORMS.get(kind)
    if form is not None:
        try:
            form.read(value)
        except units.UnitError as error:
            yield Finding(path, error.message, error.allowed, error.nearby)
    elif kind in {"choice", "sysctl"}:
        words = arg.choices or ARG_KINDS[kind].words
        if value not in words:
            what = "word" if arg.choices else kind
            yield Finding(path, f"unknown {what}", one_of(words), nearby_name(value, words))
    elif kind == "value":
        if not _is_int(value) and not isinstance(value, str):
            yield Finding(path, "not a number or word", "a whole number or a word")
    elif kind == "flags":
        yield from _flags(path, value, parts)
    elif kind in {"new_region", "new_alloc", "fd"}:
        if not isinstance(value, str) or not NAME.fullmatch(value):
            yield Finding(path, "not a name", NAME_ALLOWED)
    elif kind == "page":
        yield from _page(path, value, parts)
    elif kind == "mce_text":
        yield from _mce_text(path, value, parts)
    elif not isinstance(value, str):  # task, region, file, alloc
        yield Finding(path, "not a name", "a text")
    elif kind == "task":
        yield from _task(path, value, parts)
    elif kind == "file":
        yield from _file(path, value, parts)


def _task(path: Path, name: str, parts: Parts) -> Iterator[Finding]:
    """A task is named after its table; whether it lives, the machine knows."""
    names = parts.raw_names("task")
    group = name.partition(".")[0]
    if group in names and _TASK_NUMBERS.fullmatch(name[len(group) :]):
        return
    if not parts.all_named("task"):
        return
    examples = [f"{each}.0" for each in parts.tasks()]
    hint = f"{name}.0" if name in names else nearby_name(name, examples)
    yield Finding(path, f'no task has the name "{name}"', one_of(examples, 8), hint)


def _file(path: Path, name: str, parts: Parts) -> Iterator[Finding]:
    names = parts.raw_names("file")
    if name not in names and parts.all_named("file"):
        yield Finding(path, f'no file has the name "{name}"', one_of(names), nearby_name(name, names))


def _flags(path: Path, value: Any, parts: Parts) -> Iterator[Finding]:
    """Flag names, and only flags that exist in the kernel as it is configured."""
    missing: set[str] = set()
    if parts.machine is not None:
        config = parts.machine.config
        missing |= set() if config.unevictable_lru else {"unevictable"}
        missing |= set() if config.mlocked_page_bit else {"mlocked"}
        missing |= {"compound"} if config.pageflags_extended else {"head", "tail"}
    known = [name for name in ARG_KINDS["flags"].words if name not in missing]
    if not isinstance(value, list):
        yield Finding(path, "not a list of page flags", '["lru", "dirty"]')
        return
    for index, name in enumerate(value):
        if isinstance(name, str) and name in missing:
            yield Finding((*path, index), "this kernel configuration has no such flag", one_of(known))
        elif name not in known:
            yield Finding((*path, index), "unknown page flag", one_of(known), nearby_name(name, known))


def _banks(parts: Parts) -> int:
    """How many banks the machine's kernel reads out; of any if that is not known."""
    from hwsim.kernel.versions.boot import profile_of  # what a kernel does is loaded for such a step alone

    kernel = parts.machine.kernel if parts.machine else next(iter(KERNELS))
    return profile_of(kernel).machine_checks.banks


def _mce_text(path: Path, value: Any, parts: Parts) -> Iterator[Finding]:
    if not isinstance(value, str):
        yield Finding(path, "not a text", "records in the format of mce-inject")
        return
    try:
        text = read_mce(value, "", banks=_banks(parts))
    except MceTextError as error:
        for each in error.problems:
            where = f"line {each.line} of it: " if each.line else ""
            yield Finding(path, where + each.text, "records in the format of mce-inject")
        return
    if len(text.boots) > 1:
        yield Finding(path, f"machine checks of {len(text.boots)} boots", "those of one")
    if text.boots and not text.all_records:
        yield Finding(path, "a panic without a record", "records in the format of mce-inject, or a kernel's")
    cpus = _cpus(parts)
    for record in text.all_records:
        if record.cpu >= cpus:
            message = f"line {record.line} of it: CPU {record.cpu} is not one of the machine's"
            yield Finding(path, message, f"0 to {cpus - 1}")


def _page(path: Path, value: Any, parts: Parts) -> Iterator[Finding]:
    if not isinstance(value, dict):
        yield Finding(path, "not a page", _PAGE)
        return
    heads = [key for key in PAGE_FORMS if key in value]
    unknown = [key for key in value if key not in PAGE_FORMS and key != "index"]
    for key in unknown:
        yield Finding((*path, key), "unknown key", _PAGE, nearby_name(key, [*PAGE_FORMS, "index"]))
    if unknown:
        return
    if len(heads) != 1:
        yield Finding(path, "must name one page in one way", _PAGE)
        return
    head = heads[0]
    if not PAGE_FORMS[head].has_index and "index" in value:
        yield Finding((*path, "index"), f"a page named by {head} has no index", _PAGE)
    if PAGE_FORMS[head].has_index:
        if "index" not in value:
            yield Finding((*path, "index"), "required key is missing", _PAGE)
        elif not _is_int(value["index"]) or value["index"] < 0:
            yield Finding((*path, "index"), "not a page number", "a whole number from 0 on")
        if not isinstance(value[head], str):
            yield Finding((*path, head), "not a name", _PAGE)
        elif head == "region" and value[head].count("/") != 1:
            yield Finding(
                (*path, head), "not a region of a task", 'a task, a slash and a region: "postgres.0/shm"'
            )
        elif head == "region":
            yield from _task((*path, head), value[head].partition("/")[0], parts)
        elif head == "file":
            yield from _file((*path, head), value[head], parts)
    elif head == "address":
        if _address(value[head]) is None:
            yield Finding(
                (*path, head), "not a physical address", f'"0x1000" to "{(MAX_PFN << PAGE_SHIFT) - 1:#x}"'
            )
    elif not _is_int(value[head]) or not 0 <= value[head] < MAX_PFN:
        yield Finding((*path, head), "not a page number", f"0 to {MAX_PFN - 1}")


def _address(value: Any) -> int | None:
    if isinstance(value, str) and _HEX.fullmatch(value):
        value = int(value, 16)
    return value if _is_int(value) and 0 <= value < MAX_PFN << PAGE_SHIFT else None


def compiled(do: str, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments as the model gets them: defaults filled in, sizes in pages, addresses as pfn.

    Only for arguments without mistakes.  An address also names the line of the page.
    """
    verb = VERBS[do]
    said: dict[str, Any] = with_defaults(do, given)
    args: dict[str, Any] = {}
    for key, arg in verb.args.items():
        if key not in said:
            continue
        if arg.kind == "size":
            args["pages"] = units.parse_pages(said[key])
        elif arg.kind == "flags":
            args[key] = tuple(said[key])
        elif arg.kind == "page":
            args[key] = dict(said[key])
        else:
            args[key] = said[key]
    page = args.get("page")
    if page is not None and "address" in page:
        address = _address(page["address"]) or 0
        args["page"] = {"pfn": address >> PAGE_SHIFT}
        if "line" in verb.args and "line" not in given:
            args["line"] = address >> LINE_SHIFT & LINES_PER_PAGE - 1
    if do == "mmap":
        args.setdefault("shared", REGIONS[args["kind"]].shared)
    return args
