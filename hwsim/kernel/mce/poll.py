"""Polling of the banks by a timer: how many corrected errors a kernel without CMCI gets to see.

mcheck_timer() of 2.6.32, arch/x86/kernel/cpu/mcheck/mce.c (mce_timer_fn() in arch/x86/kernel/cpu/mce/core.c
of 6.18): the interval starts at and is capped by five minutes, halves after a poll that found something, down
to HZ/100, and doubles after one that did not.  A bank holds one record: of all corrected errors between two
polls the kernel sees one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from hwsim.elementary import added, exp, expm1

CHECK_INTERVAL_NS = 300_000_000_000
SHORTEST_NS = 10_000_000
_LEAST = 1 / 2**53  # chance that an interval has no error: never 0, so that every interval comes to the first


class Seen(NamedTuple):
    """What becomes of a steady stream of corrected errors of one bank, in the long run.

    ``records_per_s``: how many records the kernel reads out.  ``taken``: the chance that a record waits in
    the bank at any moment, so that the next error of whatever kind overflows it.
    """

    records_per_s: float
    taken: float


def mcheck_timer(interval_ns: int, found: bool) -> int:
    """The interval to the next poll."""
    return max(interval_ns // 2, SHORTEST_NS) if found else min(interval_ns * 2, CHECK_INTERVAL_NS)


@lru_cache(maxsize=1)
def _intervals() -> tuple[int, ...]:
    """Every interval that the timer can come to."""
    known: dict[int, None] = {}
    coming = [CHECK_INTERVAL_NS]
    while coming:
        interval = coming.pop()
        if interval not in known:
            known[interval] = None
            coming += [mcheck_timer(interval, True), mcheck_timer(interval, False)]
    return tuple(known)


@lru_cache(maxsize=4096)
def polled(rate_per_s: float) -> Seen:
    """A Poisson stream under the timer: the interval is a Markov chain from poll to poll."""
    if rate_per_s * SHORTEST_NS * 1e-9 <= 0.0:  # or so small that it is 0 as a float
        return Seen(0.0, 0.0)
    intervals = _intervals()
    place = {interval: number for number, interval in enumerate(intervals)}
    expected = [rate_per_s * interval * 1e-9 for interval in intervals]
    hit = [-expm1(-each) for each in expected]
    steps = [
        {
            place[mcheck_timer(interval, True)]: chance,
            place[mcheck_timer(interval, False)]: max(1.0 - chance, _LEAST),
        }
        for interval, chance in zip(intervals, hit, strict=True)
    ]
    share = _balance(steps)  # of the polls that each interval has
    time_s = added(part * interval * 1e-9 for part, interval in zip(share, intervals, strict=True))
    found = added(part * chance for part, chance in zip(share, hit, strict=True))
    # After the first error of an interval its record waits.
    waits_s = added(
        part * interval * 1e-9 * (1.0 - chance / each)
        for part, interval, chance, each in zip(share, intervals, hit, expected, strict=True)
    )
    return Seen(found / time_s, waits_s / time_s)


def _balance(steps: list[dict[int, float]]) -> list[float]:
    """How often a Markov chain is in each state, to its time in the first; ``steps`` are used up.

    State by state is left out, the last first, and what went through it is added to the ways between the
    others: nothing is subtracted (Grassmann, Taksar, Heyman, Operations Research 33, 1985), and unlike a
    solver of LAPACK it gives the same on every machine.
    """
    ways_into: list[dict[int, float]] = [{} for _ in steps]
    for last in range(len(steps) - 1, 0, -1):
        onward = steps.pop()
        onward.pop(last, None)
        leaving = added(onward.values())
        for state, step in enumerate(steps):
            if last in step:
                way = ways_into[last][state] = step.pop(last) / leaving
                for to, chance in onward.items():
                    step[to] = step.get(to, 0.0) + way * chance
    share = [1.0]
    for ways in ways_into[1:]:
        share.append(added(share[state] * way for state, way in ways.items()))
    return share


def steady(rate_per_s: float, period_s: float) -> Seen:
    """The same for polls at a fixed period."""
    expected = rate_per_s * period_s
    if expected <= 0.0:
        return Seen(0.0, 0.0)
    return Seen(-expm1(-expected) / period_s, 1.0 - (1.0 - exp(-expected)) / expected)
