"""When the errors of one source fall: as a Poisson process, or so many at uniform random times."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, nextafter

import numpy as np

from hwsim.bad_lines.dram_faults import rate_per_s, rates_per_s
from hwsim.many_draws import ManyDraws
from hwsim.memory.cells import Truths
from hwsim.rng import Draws
from hwsim.spec import ErrorSpec


def onsets(draws: Draws, source: int, error: ErrorSpec, horizon_ns: int) -> Iterator[int]:
    """The onsets of a source in ns, in order, before its end and the horizon; drawn as they are asked for.

    A count is the Poisson process given its number of events: these are independent and uniform (Ross,
    Stochastic Processes, 2nd ed., theorem 2.3.1).  Both read the source's own stream, whatever the policy.
    """
    end_ns = end_of_source_ns(error, horizon_ns)
    if error.count is not None:
        yield from _uniform(draws.arrivals(source).uniforms(error.count), error.start_ns, end_ns)
        return
    rate = rate_per_s(draws, source, error)
    if rate <= 0.0:
        return
    stream = draws.arrivals(source)
    time_ns = error.start_ns
    while True:
        wait_ns = stream.next_exponential() / rate * 1e9
        if wait_ns >= end_ns:  # also what no integer can hold
            return
        time_ns += int(wait_ns)
        if time_ns >= end_ns:
            return
        yield time_ns


def nothing_arrives(draws: ManyDraws, source: int, error: ErrorSpec, horizon_ns: int) -> Truths:
    """bool[machines]: where :func:`onsets` of a source without a count are none."""
    window_ns = end_of_source_ns(error, horizon_ns) - error.start_ns
    with np.errstate(divide="ignore", over="ignore"):  # no rate, no arrival
        waits_ns = draws.first_exponentials(source) / rates_per_s(draws, source, error) * 1e9
    # A wait is cut to whole ns before it is compared: all the same, with an integer.  Not every integer is a
    # float: the least of these that is not below the window.
    least_ns = float(window_ns)
    return waits_ns >= (least_ns if least_ns >= window_ns else nextafter(least_ns, inf))


def end_of_source_ns(error: ErrorSpec, horizon_ns: int) -> int:
    """From when on it has no arrival."""
    return horizon_ns if error.end_ns is None else min(error.end_ns, horizon_ns)


def _uniform(uniforms: list[float], start_ns: int, end_ns: int) -> list[int]:
    """A time for each uniform, in [start, end); none if that is empty."""
    window_ns = end_ns - start_ns
    if window_ns <= 0:
        return []
    # The last of the uniforms is 1 as a float, and a product may be rounded up to the window.
    return sorted(start_ns + min(int(u * window_ns), window_ns - 1) for u in uniforms)
