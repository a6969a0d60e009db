"""Steps that cannot be done: each says where it stands, what it wants, and why not."""

from __future__ import annotations

from typing import Any

import pytest

from hwsim.script.step import ScriptError
from tests.support.worlds import INJECT, P0, play, touch


def ranged(at: int, verb: str, first: int, pages: int, **more: Any) -> tuple[int, str, dict[str, Any]]:
    return at, verb, {"task": "app.0", "region": "heap", "first": first, "pages": pages, **more}


# -- what cannot be done --------------------------------------------------------------------------------

DEAD = (1_000, "exit", {"task": "app.0"})
IMPOSSIBLE: list[tuple[str, str, tuple[Any, ...]]] = [
    (
        "dead task",
        'script[1]: load region app.0/heap index 0: task "app.0" is dead at this time',
        (DEAD, touch(2_000, "load")),
    ),
    (
        "no task",
        'script[0]: exit: there is no task "app.7" at this time',
        ((1_000, "exit", {"task": "app.7"}),),
    ),
    (
        "no region",
        'task "app.0" maps no region "none"',
        ((1_000, "mlock", {"task": "app.0", "region": "none"}),),
    ),
    (
        "unmapped page",
        "script[1]: load region app.0/heap index 0: ",
        (ranged(500, "munmap", 0, 1), touch(1_000, "load")),
    ),
    (
        "other page",
        "a task cannot load this page",
        ((1_000, "load", {"task": "app.0", "page": {"free": 0}}),),
    ),
    (
        "beyond memory",
        "pfn 0x9999 is beyond the memory, which ends at 0x2000000",
        ((1_000, "pin", {"page": {"pfn": 0x9999}}),),
    ),
    (
        "bad line beyond memory",
        "pfn 0x9999 is beyond the memory, which ends at 0x2000000",
        ((1_000, "inject", {"page": {"pfn": 0x9999}, "how": "line"}),),
    ),
    ("locked", "is locked already", ((1_000, "lock_page", {"page": P0}), (2_000, "lock_page", {"page": P0}))),
    ("not locked", "no step has locked", ((1_000, "unlock_page", {"page": P0}),)),
    ("not pinned", "no step has pinned", ((1_000, "unpin", {"page": P0}),)),
    ("no writeback", "not under writeback", ((1_000, "end_writeback", {"page": P0}),)),
    ("free page", "the page is free", ((1_000, "swap_out", {"page": {"free": 1}}),)),
    (
        "swapped twice",
        "unmapped already",
        ((1_000, "swap_out", {"page": P0}), (2_000, "swap_out", {"page": P0})),
    ),
    ("user page", "does not belong to the kernel", ((1_000, "free_page", {"page": P0}),)),
    ("no block", "no block of this name", ((1_000, "free", {"name": "none"}),)),
    (
        "anon has no buffers",
        "only pages of files on disk",
        ((1_000, "buffers", {"page": P0, "state": "idle"}),),
    ),
]


@pytest.mark.parametrize(("what", "says", "steps"), IMPOSSIBLE, ids=[each[0] for each in IMPOSSIBLE])
def test_impossible_steps(what: str, says: str, steps: tuple[Any, ...]) -> None:
    with pytest.raises(ScriptError) as caught:
        play(*steps)
    assert says in str(caught.value)
    assert type(caught.value)(*caught.value.args).args == caught.value.args  # it travels between processes


def test_steps_of_a_killed_task_are_skipped_because_the_policy_decides_who_lives() -> None:
    steps = (INJECT, touch(10_000, "load"), touch(20_000, "load"))
    late, early = play(*steps, early_kill=0), play(*steps, early_kill=1)
    assert [facts.get("skipped") for _, event, facts in late.events if event == "script"] == [
        None,
        None,
        'task "app.0" was killed',
    ]
    assert [facts.get("skipped") for _, event, facts in early.events if event == "script"] == [
        None,
        'task "app.0" was killed',
        'task "app.0" was killed',
    ]
