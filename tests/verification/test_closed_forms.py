"""The closed forms again, over more values and with many more errors; see ``tests/test_closed_forms.py``."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest, chisquare, poisson

from tests.closed_forms import ALPHA, error_counts, killed_before_exit, read_before_scrub


@pytest.mark.parametrize("rate_period", [0.03, 0.3, 1.0, 3.0, 10.0])
def test_read_before_scrub(rate_period: float) -> None:
    read, errors, expected = read_before_scrub(400, rate_period)
    assert errors > 20_000
    assert binomtest(read, errors, expected).pvalue > ALPHA


@pytest.mark.parametrize("touch_per_s", [0.001, 0.01, 0.1])
def test_late_kill_against_exit(touch_per_s: float) -> None:
    late, entries, expected = killed_before_exit(200, touch_per_s, 0.01)
    assert entries > 10_000
    assert binomtest(late, entries, expected).pvalue > ALPHA


@pytest.mark.parametrize("expected", [0.5, 4.0, 12.0])
def test_errors_come_as_a_poisson_process(expected: float) -> None:
    replications = 20_000
    counts = error_counts(replications, expected)
    low, high = (int(poisson.ppf(q, expected)) for q in (0.001, 0.999))
    seen = [counts[n] for n in range(low + 1, high)]
    theory = [float(poisson.pmf(n, expected)) for n in range(low + 1, high)]
    seen += [sum(counts[n] for n in counts if n <= low), sum(counts[n] for n in counts if n >= high)]
    theory += [float(poisson.cdf(low, expected)), float(poisson.sf(high - 1, expected))]
    assert chisquare(seen, [replications * p for p in theory]).pvalue > ALPHA
