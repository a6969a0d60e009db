"""Polling of the banks by a timer: how many corrected errors a kernel without CMCI gets to see.

mcheck_timer() of 2.6.32, arch/x86/kernel/cpu/mcheck/mce.c (mce_timer_fn() in arch/x86/kernel/cpu/mce/core.c
of 6.18): the interval starts at and is capped by five minutes, halves after a poll that found something, down
to HZ/100, and doubles after one that did not.  A bank holds one record: of all corrected errors between two
polls the kernel sees one.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, expm1
from typing import NamedTuple

import numpy as np

CHECK_INTERVAL_NS = 300_000_000_000
SHORTEST_NS = 10_000_000


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
    if rate_per_s <= 0.0:
        return Seen(0.0, 0.0)
    intervals = _intervals()
    place = {interval: number for number, interval in enumerate(intervals)}
    expected = rate_per_s * np.array(intervals) * 1e-9
    hit = -np.expm1(-expected)
    step = np.zeros((len(intervals), len(intervals)))
    for interval, number in place.items():
        step[number, place[mcheck_timer(interval, True)]] += hit[number]
        step[number, place[mcheck_timer(interval, False)]] += 1.0 - hit[number]
    # The share of polls that each interval has: it is left unchanged by a step, and sums to one.
    balance = np.vstack([step.T - np.eye(len(intervals)), np.ones(len(intervals))])
    share = np.linalg.lstsq(balance, np.append(np.zeros(len(intervals)), 1.0), rcond=None)[0]
    lengths_s = np.array(intervals) * 1e-9
    time_s = float(share @ lengths_s)
    waits_s = float(share @ (lengths_s * (1.0 - hit / expected)))  # after the first error of an interval
    return Seen(float(share @ hit) / time_s, waits_s / time_s)


def steady(rate_per_s: float, period_s: float) -> Seen:
    """The same for polls at a fixed period."""
    expected = rate_per_s * period_s
    if expected <= 0.0:
        return Seen(0.0, 0.0)
    return Seen(-expm1(-expected) / period_s, 1.0 - (1.0 - exp(-expected)) / expected)
