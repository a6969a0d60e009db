"""explain() says what the table says, for every page, and what the handler really does."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from hwsim import explain
from hwsim.explaining.question import ExplainError
from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import Config, scan
from hwsim.kernel.versions import KERNELS, v5
from tests.support.pages_asked_for import an_answer_or_a_reason

TESTED = (
    "reserved",
    "buddy",
    "slab",
    "head",
    "tail",
    "swapcache",
    "dirty",
    "unevictable",
    "mlocked",
    "lru",
    "swapbacked",
)
BUILDS = (
    Config(),
    Config(unevictable_lru=False),
    Config(mlocked_page_bit=False),
    Config(pageflags_extended=False),
)


@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_every_combination_of_flags_gets_the_row_of_the_table(build: Config) -> None:
    table = build.build(v5.ERROR_STATES)
    for bits in product((False, True), repeat=len(TESTED)):
        names = [name for name, on in zip(TESTED, bits, strict=True) if on]
        found = explain(
            names,
            unevictable_lru=build.unevictable_lru,
            mlocked_page_bit=build.mlocked_page_bit,
            pageflags_extended=build.pageflags_extended,
        )
        state = scan(table, build.real_flags(pg.flags_of(names)))
        wanted = state.row, state.message, state.handler.__name__
        assert (found.row, found.message, found.handler) == wanted, names
        assert found.exit == "table"
        assert found.counted_in_bad_pages


@pytest.mark.parametrize(
    ("flags", "more", "outcome", "now", "later"),
    [
        (
            "lru,dirty,swapbacked",
            {"mapped": 2, "early_kill": 1},
            "Recovered",
            ["BUS_MCEERR_AO"] * 2,
            "poison",
        ),
        ("lru,dirty,swapbacked", {"mapped": 2, "early_kill": 0}, "Recovered", [], "poison"),
        ("lru", {"mapped": 1}, "Recovered", [], "none"),
        ("lru,dirty", {"mapped": 1, "early_kill": 1}, "Recovered", ["BUS_MCEERR_AO"], "poison"),
        ("lru,dirty", {"mapped": 1, "mapping": "blockdev"}, "Failed", ["BUS_MCEERR_AO"], "poison"),
        (
            "lru,dirty,swapbacked",
            {"mapped": 1, "unmap_fails": 5, "early_kill": 1},
            "Recovered",
            [""],
            "present",
        ),
        ("swapcache,dirty,lru,swapbacked", {"mapped": 1, "early_kill": 0}, "Delayed", [], "swap"),
        ("slab", {}, "Delayed", [], None),
    ],
)
def test_who_is_signalled_and_what_the_entry_becomes(
    flags: str, more: dict[str, object], outcome: str, now: list[str], later: str | None
) -> None:
    found = explain(flags, **more)
    assert found.outcome == outcome
    assert [signal["code"] for signal in found.signals if signal["when"] == "at once"] == now
    assert {entry["becomes"] for entry in found.entries} == ({later} if later else set())
    assert set(found.as_dict()) >= {"row", "message", "handler", "outcome", "signals", "log"}


@pytest.mark.parametrize(
    ("flags", "more", "becomes", "later", "code"),
    [
        ("lru", {}, "none", "reads the page again from disk; no signal", ""),
        ("lru,dirty", {}, "poison", "is SIGBUS BUS_MCEERR_AR", "BUS_MCEERR_AR"),
        ("lru,dirty", {"unmap_fails": 5}, "none", "reads the old contents from disk", ""),
        ("lru", {"unmap_fails": 5}, "none", "reads the page again from disk; no signal", ""),
        (
            "lru,dirty,swapbacked",
            {"mapping": "tmpfs", "unmap_fails": 5},
            "none",
            "finds a hole in the file, zeroes; no signal",
            "",
        ),
        ("lru,dirty", {"mapping": "ramfs", "unmap_fails": 5}, "none", "finds a hole in the file, zeroes", ""),
        ("lru,dirty,swapbacked", {"mapping": "tmpfs"}, "poison", "is SIGBUS BUS_MCEERR_AR", "BUS_MCEERR_AR"),
        (
            "lru,dirty,swapbacked,swapcache",
            {"mapping": "tmpfs"},
            "none",
            "is SIGBUS BUS_ADRERR: the swap cache has no contents",
            "BUS_ADRERR",
        ),
        (
            "lru,swapbacked,swapcache",
            {"mapping": "tmpfs"},
            "none",
            "reads the good copy back from swap; no signal",
            "",
        ),
    ],
)
def test_what_the_next_touch_comes_to(
    flags: str, more: dict[str, object], becomes: str, later: str, code: str
) -> None:
    found = explain(flags, mapped=1, early_kill=0, **more)
    (entry,) = found.entries
    assert entry["becomes"] == becomes
    assert str(entry["later"]).startswith(f"the next touch {later}")
    assert [signal["code"] for signal in found.signals] == ([code] if code else [])


def test_all_mistakes_at_once_with_what_is_allowed_and_a_nearby_name() -> None:
    with pytest.raises(ExplainError) as mistakes:
        explain("lur", kernel="v6", mapping="fiel", buffers="bsy", early_kill=2, mapped=-1)
    text = str(mistakes.value).splitlines()
    assert len(text) == 6
    assert text[0].startswith("flags = 'lur': not known; allowed are reserved, buddy")
    assert text[0].endswith("did you mean 'lru'?")
    assert text[5] == "mapped = -1: allowed are 0 to 10000"


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (
            {"flags": "lru,private,dirty", "mapping": "tmpfs"},
            "buffers = 'idle' (PG_private) with mapping = 'tmpfs': cannot be in v5",
        ),
        (
            {"flags": "lru,swapcache", "mapping": "file"},
            "flags = 'swapcache' with mapping = 'file': cannot be",
        ),
        ({"flags": "lru,swapcache,private"}, "buffers = 'idle' (PG_private) in the swap cache: cannot be"),
        (
            {"flags": "lru,swapbacked", "buffers": "busy"},
            "buffers = 'busy' (PG_private) with mapping = 'anon'",
        ),
    ],
)
def test_a_page_that_cannot_be_is_refused_with_the_reason(page: dict[str, Any], reason: str) -> None:
    with pytest.raises(ExplainError) as refused:
        explain(**page)
    assert str(refused.value).startswith(reason)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_buffers_and_the_swap_cache_hold_the_page(kernel: str) -> None:
    """PG_private among the flags is buffers; a page of the swap cache without a mapping is one of tmpfs."""
    buffered = explain("lru,uptodate,private", mapping="file", kernel=kernel)
    assert (buffered.outcome, buffered.still_referenced_by) == ("Recovered", 0)
    busy = explain("lru,uptodate,private", mapping="file", kernel=kernel, buffers="busy")
    assert busy.outcome == "Failed"
    swapped = explain("lru,swapcache", mapping="none", kernel=kernel)
    assert (swapped.message, swapped.outcome) == ("swapcache", "Recovered")


def test_any_page_gets_an_answer_or_a_reason() -> None:
    an_answer_or_a_reason()
