"""Kernel profiles side by side, and the switches with what each kernel makes of them."""

from __future__ import annotations

from types import FunctionType
from typing import NamedTuple, TypedDict

from hwsim.explaining.question import unknown
from hwsim.kernel.kernel import Kernel
from hwsim.kernel.machine_checks import Handling
from hwsim.kernel.page_flags import names_of
from hwsim.kernel.prctl import no_mce_kill
from hwsim.kernel.profile import Profile
from hwsim.kernel.switches import SWITCHES
from hwsim.kernel.versions import KERNELS
from hwsim.kernel.versions.boot import all_profiles, profile_of
from hwsim.kernel.versions.switches import word_of

# In this order: fields of the profile, what is read off them, and what the kernel says of its functions.
_FACTS = (
    *("source", "released", "early_kill_default"),
    *("n_unmap_tries", "ring_slots", "trapno", "rendezvous_timeout_ns"),
    *("pagecache_drop", "counted", "rejects_non_lru", "first_entry_needed", "madvise_holds_page"),
    *("has_prctl", "has_recovery_sysctl", "flusher", "fsync_asks", "punch_hole", "machine_checks"),
)


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
        {"name": each.name, "released": each.released, "source": each.source}
        for each in all_profiles().values()
    ]


def side_by_side(*names: str) -> list[Line]:
    """The kernels ``names`` line by line, from their profiles; :class:`ProfileError` for an unknown one."""
    chosen = [_profile(name) for name in names]
    facts = [_facts(kernel) for kernel in chosen]
    all_names = dict.fromkeys(name for each in facts for name in each)
    lines = [Line("kernel", name, tuple(each.get(name, "") for each in facts)) for name in all_names]
    lines += [
        Line("switches", each.name, tuple(str(word_of(kernel, each.name)) for kernel in chosen))
        for each in SWITCHES
    ]
    lines += _rows(chosen)
    ids = dict.fromkeys(key for kernel in chosen for key in kernel.formats)
    lines += [Line("messages", key, tuple(_message(kernel, key) for kernel in chosen)) for key in ids]
    return lines


def switches() -> list[SwitchRow]:
    """Every switch of the review."""
    kernels = all_profiles()
    return [
        {
            "name": each.name,
            "allowed": list(each.allowed) or "0 to 1",
            "kernels": {name: word_of(kernel, each.name) for name, kernel in kernels.items()},
            "source": each.source,
            "effect": each.effect,
        }
        for each in SWITCHES
    ]


def _profile(name: str) -> Profile[Kernel]:
    if name not in KERNELS:
        raise ProfileError(unknown("kernel", name, KERNELS))
    return profile_of(name)


def _facts(kernel: Profile[Kernel]) -> dict[str, str]:
    said = {name: _shown(getattr(kernel, name)) for name in _FACTS if hasattr(kernel, name)}
    said |= kernel.told
    said |= {
        "pagecache_drop": kernel.pagecache_drop.__name__,
        "madvise_holds_page": str(kernel.madvise_ref > 0),
        "has_prctl": str(kernel.prctl is not no_mce_kill),
        "has_recovery_sysctl": str("vm.memory_failure_recovery" in kernel.sysctls),
    }
    return {name: said[name] for name in (*_FACTS, *kernel.told) if name in said}


def _shown(value: object) -> str:
    """A rule of the kernel by the name of its function, its machine checks by theirs."""
    if isinstance(value, Handling):
        return value.name
    return f"{value.__name__}()" if isinstance(value, FunctionType) else str(value)


def _rows(chosen: list[Profile[Kernel]]) -> list[Line]:
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
            table[key] = f"{wants or 'anything'}: {state.message!r} {state.handler.__name__}(){config}"
        tables.append(table)
        keys.update(dict.fromkeys(table))
    return [Line("error_states", key, tuple(table.get(key, "") for table in tables)) for key in keys]


def _message(kernel: Profile[Kernel], key: str) -> str:
    level, text = kernel.formats.get(key, (0, ""))
    return f"<{level}>{text}" if text else ""
