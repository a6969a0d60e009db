"""The closed forms, with more values and many more errors; see ``tests/machine/test_closed_forms.py``."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy.stats import binomtest, chisquare, poisson

from tests.support.closed_forms import (
    ALPHA,
    beyond_the_census,
    dirty_pages,
    error_counts,
    killed_before_exit,
    killed_before_the_end,
    read_before_scrub,
    told_first,
)
from tests.whole.shipped import NAMES, SCRIPTED, spec_of


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


@pytest.mark.parametrize("touch_per_s", [0.001, 0.005, 0.02])
@pytest.mark.parametrize("exit_per_s", [0.0, 0.002, 0.01])
def test_late_kill_against_exit_and_the_end_of_the_run(touch_per_s: float, exit_per_s: float) -> None:
    kills = killed_before_the_end(400, touch_per_s, exit_per_s)
    assert kills.mapped > 9_000
    assert binomtest(kills.late, kills.mapped, kills.late_share).pvalue > ALPHA
    outcomes = 3 if exit_per_s else 2
    expected = [kills.mapped * share for share in kills.early_shares[:outcomes]]
    assert sum(kills.early[outcomes:]) == 0
    assert chisquare(kills.early[:outcomes], expected).pvalue > ALPHA


@pytest.mark.parametrize("other_s", [10, 13, 25, 40, 90])
def test_of_two_callers_of_fsync_the_first_is_told(other_s: int) -> None:
    writer, told, expected = told_first(10_000, 25, other_s)
    assert told > 9_000
    assert binomtest(writer, told, expected).pvalue > ALPHA


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


@pytest.mark.parametrize(
    ("stores_per_s", "others_per_s"),
    [
        ((0.02, 0.01), 0.0),
        ((1e-4, 1e-5), 0.0),
        ((0.01, 0.002), 0.05),
        ((1e-3, 1e-3), 2.0),
        ((0.3, 0.05), 0.3),
    ],
)
def test_pages_are_dirty_by_their_own_stores(stores_per_s: tuple[float, float], others_per_s: float) -> None:
    replications = 8_000
    seen, shares = dirty_pages(replications, stores_per_s, others_per_s)
    cases = [case for case in shares if shares[case] * replications >= 8]
    assert (
        chisquare(
            [*(seen[case] for case in cases), replications - sum(seen[case] for case in cases) + 1],
            [
                *(replications * shares[case] for case in cases),
                replications * (1.0 - sum(shares[case] for case in cases)) + 1,
            ],
        ).pvalue
        > ALPHA
    )


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SCRIPTED])
@pytest.mark.parametrize(("kernel", "early_kill"), [("v5", 1), ("2.6.32", 0)])
def test_machines_of_every_scenario_fare_as_its_census_says(name: str, kernel: str, early_kill: int) -> None:
    """The false alarm of each is ALPHA / 10, of all 28 together 0.3 %."""
    spec = spec_of(name)
    machine = replace(spec.machine, kernel=kernel, early_kill=early_kill)
    outcomes, beyond = beyond_the_census(replace(spec, machine=machine), 200, ALPHA / 10)
    assert outcomes > 1
    assert beyond == []
