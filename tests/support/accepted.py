"""Scenarios of extreme but valid values, drawn by hypothesis: what is accepted must end.

The bounds of the checks are set low for it, so that steps are counted in thousands; events and calls are
counted, never seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from hwsim.engine import Bell, Engine
from hwsim.kernel.switches import SWITCHES
from hwsim.machine import run_replication
from hwsim.record import Replication
from hwsim.scenario import check_streams, endless
from hwsim.scenario.compile import to_spec
from hwsim.scenario.sources import Document, Source
from hwsim.scenario.validate import validate

STEPS, ERRORS = 100, 20
EVENTS = 60_000  # a dozen activities of STEPS steps, for each of ERRORS errors, of some events each
CALLS = 20_000_000

shares = st.sampled_from((0, 0.5, 1))
durations = st.sampled_from(("2 h", "5 d", "100 y", "1 y", "10 h", "30 min", "1 s", "20 ms", "1 ns"))
rates = st.sampled_from(("never", "1 / y", "1 / h", "3 / s", "1000000 / s", "1000000000 / s"))
never = st.sampled_from(("never",))
touches = st.fixed_dictionaries({"share": shares, "load": rates, "store": rates})


def table(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A table with these keys, and any of the others; what is no strategy stands for itself."""
    return st.fixed_dictionaries(
        {
            key: value if isinstance(value, st.SearchStrategy) else st.just(value)
            for key, value in required.items()
        },
        optional=optional,
    )


swaps = table(
    {"period": durations}, dirty_mapped=st.just(0.3), dirty_unmapped=st.just(0.3), clean_unmapped=st.just(0.4)
)  # fmt: skip
lines = {"lines_per_touch": st.sampled_from((0.01, 64)), "full_line": shares}
regions = st.tuples(
    table(
        {"kind": "anon", "name": "heap", "size": "1 MiB"},
        touch=touches,
        swap=swaps,
        unmap_fail=shares,
        **lines,
    ),
    table(
        {"kind": "shm", "name": "shm", "size": "1 MiB"},
        touch=touches,
        swap=swaps,
        populate=st.booleans(),
        **lines,
    ),
    table({"kind": "file", "name": "map", "file": "data"}, touch=touches, **lines),
).map(list)
answers = st.sampled_from(("default", "ignored", "blocked", "remap", "exit", "return", "touch"))
fsyncs = table(
    {"file": "data", "every": durations}, reopen=durations, open=shares, checks=st.booleans(),
    call=st.sampled_from(("fsync", "sync_file_range")),
)  # fmt: skip
tasks = table(
    {"name": "app", "region": regions}, count=st.integers(1, 3), children=st.integers(0, 2), sigbus=answers,
    group_death=st.booleans(), restart=durations | never, fsync=fsyncs, lifetime=durations | never,
)  # fmt: skip
files = table(
    {"name": "data", "size": "1 MiB", "filesystem": st.sampled_from(("ext2", "ext4", "nfs", "blockdev"))},
    touch=touches, flush_every=durations, buffers=st.sampled_from(("none", "idle", "busy")), turnover=rates,
    truncate=rates, evict=rates, pagevec=shares,
)  # fmt: skip
pools = st.tuples(
    table({"kind": "slab", "size": "1 MiB"}, load=rates, store=rates, lifetime=durations | never),
    table({"kind": "high_order", "size": "1 MiB", "order": 2}, lifetime=durations | never),
).map(list)
places = st.sampled_from(
    ("uniform", *({"region": name} for name in ("free", "app/heap", "app/shm", "file:data", "kernel:slab")))
)
numbers = st.integers(1, ERRORS // 6)  # a rate is so many until the horizon
more = {"where": places, "permanent": shares, "burst_pages": st.integers(1, 3)}
errors = table({"rate": numbers}, **more) | table({"count": numbers}, **more)
switches = st.fixed_dictionaries(
    {}, optional={each.name: st.sampled_from(each.allowed) if each.allowed else shares for each in SWITCHES}
)
TIMES = ("rendezvous", "lock_wait", "sigbus_handler", "writeback", "signal_delivery")
flushers = {
    "vm.dirty_writeback_centisecs": st.sampled_from((0, 1, 500, 1_000_000)),
    "vm.dirty_expire_centisecs": st.sampled_from((1, 3_000, 1_000_000)),
}
delays = st.sampled_from(("1 ns", "1 s", "1 d", {"kind": "lognormal", "mean": "1 y", "sigma": 10}))
machines = table(
    {"memory": "16 MiB", "kernel": st.sampled_from(("v5", "2.6.32"))},
    cpus=st.sampled_from((1, 4, 4096)), tolerant=st.integers(0, 3), switches=switches,
    scrub=table({"period": durations | never}, signals=st.sampled_from(("SRAO", "UCNA", "fatal", "none"))),
    device_read=st.sampled_from(("UCNA", "fatal", "silent")), sync=durations | never, user_share=shares,
    on_panic=table({"reboot": durations}, repair=shares) | st.just("end"),
    alloc=table({"rate": rates}, order=st.integers(0, 10)), atomic_alloc_fail=shares,
    times=st.fixed_dictionaries({}, optional=dict.fromkeys(TIMES, delays)),
    sysctl=st.fixed_dictionaries({"vm.memory_failure_early_kill": st.integers(0, 1)}, optional=flushers),
)  # fmt: skip
scenarios = table(
    {"name": "drawn", "horizon": st.sampled_from(("20 d", "1 h", "10 y")), "machine": machines,
     "errors": st.lists(errors, min_size=1, max_size=2), "task": tasks.map(lambda each: [each]),
     "file": files.map(lambda each: [each]), "kernel": pools},
    seed=st.integers(0, 3),
)  # fmt: skip


class TooMany(AssertionError):
    """The run does not end within the limits."""


@contextmanager
def limits(events: int, calls: int | None = None) -> Iterator[None]:
    """Raise TooMany beyond so many engine events or Python calls; to count these takes its time."""
    left = [events, calls or 0]

    def counted(method: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise TooMany(f"more than {events} events")
            return method(*args, **more)

        return call

    def called(_frame: Any, event: str, _argument: Any) -> None:
        left[1] -= event == "call"
        if left[1] < 0:
            sys.setprofile(None)
            raise TooMany(f"more than {calls} calls")

    before = sys.getprofile()
    with (
        mock.patch.object(Engine, "at", counted(Engine.at)),
        mock.patch.object(Engine, "wait", counted(Engine.wait)),
        mock.patch.object(Bell, "ring", counted(Bell.ring)),
    ):
        if calls is not None:
            sys.setprofile(called)
        try:
            yield
        finally:
            sys.setprofile(before)


def play(data: dict[str, Any]) -> Replication | None:
    """Replication 0 within the limits; None if the checks refuse the scenario."""
    for each in data["errors"]:
        if "rate" in each:
            each["rate"] = f"{each['rate']} / {data['horizon']}"
    with (
        mock.patch.object(endless, "MAX_STEPS", STEPS),
        mock.patch.object(check_streams, "MAX_ERRORS", ERRORS),
    ):
        model, _ = validate(Document(data, [Source("drawn.toml")]))
    if model is None:
        return None
    spec = to_spec(model)
    with limits(EVENTS, CALLS):
        return run_replication(spec, 0)


@given(scenarios)
def what_is_accepted_ends(data: dict[str, Any]) -> None:
    play(data)
