"""Kernel profiles side by side, and the switches with what each kernel makes of them."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from types import FunctionType
from typing import NamedTuple, TypedDict

from hwsim.kernel.machine_checks import Handling
from hwsim.kernel.page_flags import names_of
from hwsim.kernel.profile import Profile
from hwsim.kernel.switches import SWITCHES
from hwsim.kernel.versions import PROFILES

_APART = ("name", "model_version", "error_states", "switches", "formats")


class ProfileError(ValueError):
    """There is no kernel of this name: what there is, and a nearby one."""


class Line(NamedTuple):
    """One line of a comparison: a part, what is compared, and each kernel's value ('' if it has none)."""

    part: str  # kernel | switches | error_states | messages
    what: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the kernels are not alike here."""
        return len(set(self.values)) > 1


class SwitchRow(TypedDict):
    """A switch: allowed values, each kernel's choice, where it comes from, what it changes."""

    name: str
    allowed: list[str] | str
    kernels: dict[str, str | float]
    source: str
    effect: str


def profiles() -> list[dict[str, str]]:
    """Every kernel profile: name, date, source."""
    return [
        {"name": each.name, "released": each.released, "source": each.source} for each in PROFILES.values()
    ]


def side_by_side(*names: str) -> list[Line]:
    """The kernels ``names`` line by line, from their profiles; :class:`ProfileError` for an unknown one."""
    chosen = [_profile(name) for name in names]
    lines = [
        Line("kernel", field.name, tuple(_shown(getattr(each, field.name)) for each in chosen))
        for field in fields(Profile)
        if field.name not in _APART
    ]
    lines += [
        Line("switches", each.name, tuple(str(getattr(kernel.switches, each.name)) for kernel in chosen))
        for each in SWITCHES
    ]
    lines += _rows(chosen)
    ids = dict.fromkeys(key for kernel in chosen for key in kernel.formats)
    lines += [Line("messages", key, tuple(_message(kernel, key) for kernel in chosen)) for key in ids]
    return lines


def switches() -> list[SwitchRow]:
    """Every switch of the review."""
    return [
        {
            "name": each.name,
            "allowed": list(each.allowed) or "0 to 1",
            "kernels": {name: getattr(kernel.switches, each.name) for name, kernel in PROFILES.items()},
            "source": each.source,
            "effect": each.effect,
        }
        for each in SWITCHES
    ]


def _profile(name: str) -> Profile:
    if name in PROFILES:
        return PROFILES[name]
    near = get_close_matches(name, PROFILES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ProfileError(f"kernel = {name!r}: not known; allowed are {', '.join(PROFILES)}{hint}")


def _shown(value: object) -> str:
    """A rule of the kernel by the name of its function, its machine checks by theirs."""
    if isinstance(value, Handling):
        return value.name
    return f"{value.__name__}()" if isinstance(value, FunctionType) else str(value)


def _rows(chosen: list[Profile]) -> list[Line]:
    keys: dict[str, None] = {}
    tables: list[dict[str, str]] = []
    for kernel in chosen:
        table: dict[str, str] = {}
        for state in kernel.error_states:
            key = f"{state.row}{'p' if state.config.startswith('!') else ''}"
            config = f" if {state.config}" if state.config else ""
            wants = " ".join(
                [*names_of(state.must_set), *(f"!{name}" for name in names_of(state.must_clear))]
            )
            table[key] = f"{wants or 'anything'}: {state.message!r} {state.handler}(){config}"
        tables.append(table)
        keys.update(dict.fromkeys(table))
    return [Line("error_states", key, tuple(table.get(key, "") for table in tables)) for key in keys]


def _message(kernel: Profile, key: str) -> str:
    level, text = kernel.formats.get(key, (0, ""))
    return f"<{level}>{text}" if text else ""
