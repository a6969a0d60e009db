"""What ``explain`` is asked, and why some of it makes no sense: every mistake with what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from hwsim.kernel import page_flags as pg
from hwsim.kernel.switches import SWITCHES
from hwsim.kernel.versions import KERNELS

_MOST = 10_000
BUFFER_STATES = ("none", "idle", "busy")
MAPPINGS = ("anon", "file", "tmpfs", "ramfs", "blockdev", "none")
KERNEL_OWNED = pg.RESERVED | pg.BUDDY | pg.SLAB | pg.HEAD | pg.TAIL | pg.COMPOUND


class ExplainError(ValueError):
    """The question makes no sense: every mistake, what is allowed, a nearby name."""


def refuse(problems: Sequence[str]) -> None:
    """Raises :class:`ExplainError` if there is any problem."""
    if problems:
        raise ExplainError("\n".join(problems))


def flag_names(flags: str | Iterable[str]) -> tuple[str, ...]:
    """The names of page flags in small letters and without PG_, known or not."""
    parts = flags.split(",") if isinstance(flags, str) else list(flags)
    return tuple(part.strip().lower().removeprefix("pg_") for part in parts if part.strip())


def not_known(
    names: Iterable[str], kernel: str, mapping: str | None, buffers: str, early_kill: int | None
) -> Iterator[str]:
    """Words that mean nothing here."""
    for name in names:
        if name not in pg.NAMES:
            yield unknown("flags", name, pg.NAMES)
    if kernel not in KERNELS:
        yield unknown("kernel", kernel, KERNELS)
    if mapping is not None and mapping not in MAPPINGS:
        yield unknown("mapping", mapping, MAPPINGS)
    if buffers not in BUFFER_STATES:
        yield unknown("buffers", buffers, BUFFER_STATES)
    if early_kill not in (None, 0, 1):
        yield f"early_kill = {early_kill!r}: allowed are 0 and 1"


def not_a_count(**counts: int) -> Iterator[str]:
    """Numbers of tasks, references and tries that are below zero or absurd."""
    for key, number in counts.items():
        if not 0 <= number <= _MOST:
            yield f"{key} = {number}: allowed are 0 to {_MOST}"


def switch_value(text: str) -> str | tuple[str, str | float]:
    """The switch and its value of a text NAME=VALUE, or what is wrong with them."""
    name, _, value = (part.strip() for part in text.partition("="))
    allowed = {each.name: each.allowed for each in SWITCHES}
    if name not in allowed:
        return unknown("switch", name, allowed)
    if allowed[name]:
        return (name, value) if value in allowed[name] else unknown(name, value, allowed[name])
    try:
        chance = float(value)
    except ValueError:
        chance = -1.0
    return (name, chance) if 0.0 <= chance <= 1.0 else f"{name} = {value!r}: allowed are 0 to 1"


def impossible(kernel: str, flags: int, mapping: str | None, buffers: str) -> list[str]:
    """Why no page of this kernel can be in this state; nothing if one can.

    Only what references depend on: flags that no page has together match a row of the table all the same.
    """
    if flags & KERNEL_OWNED:
        return []  # whoever owns it uses the other flags as it likes
    owner = mapping_of(flags) if mapping is None else mapping
    found = []
    if flags & pg.SWAPCACHE and owner in ("file", "ramfs", "blockdev"):
        found.append(
            f"flags = 'swapcache' with mapping = {owner!r}: cannot be in {kernel}: only anonymous pages and "
            "those of tmpfs go to swap; allowed are anon, tmpfs, none (of tmpfs: page->mapping is NULL there)"
        )
    if buffers != "none" and (owner in ("anon", "tmpfs", "ramfs") or flags & pg.SWAPCACHE):
        where = "in the swap cache" if flags & pg.SWAPCACHE else f"with mapping = {owner!r}"
        found.append(
            f"buffers = {buffers!r} (PG_private) {where}: cannot be in {kernel}: buffers belong to a block "
            "of a file system or of a device; allowed are file, blockdev, none (truncated meanwhile)"
        )
    return found


def mapping_of(flags: int) -> str:
    """What a page with these flags belongs to."""
    if flags & (pg.SWAPBACKED | pg.SWAPCACHE | pg.ANON):
        return "anon"
    return "file" if flags & (pg.LRU | pg.DIRTY | pg.UNEVICTABLE | pg.MLOCKED) else "none"


def unknown(key: str, value: str, allowed: Iterable[str]) -> str:
    """Nothing has this name: what is allowed, and a nearby one."""
    names = list(allowed)
    near = get_close_matches(value, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{key} = {value!r}: not known; allowed are {', '.join(names)}{hint}"
