"""Estimators against closed forms, scipy and their nominal coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from hwsim.study import estimate

RNG_SEED = 7


def test_mean_is_the_t_interval():
    values = [3.0, 4.0, 5.0, 4.5, 3.5] * 5
    found = estimate.mean(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.method, found.n) == ("t", 25)
    assert [found.low, found.high] == pytest.approx([low, high])


def test_a_fleet_where_little_happens_is_resampled_the_same_way(monkeypatch):
    draw = np.random.default_rng(3)
    counts = np.where(draw.random(3_000) < 0.005, draw.integers(1, 300, 3_000), 0).astype(float)
    quick = estimate.mean(list(counts))
    monkeypatch.setattr(estimate, "_FLEET", 10**9)
    plain = estimate.mean(list(counts))
    assert quick.method == plain.method == "BCa bootstrap"
    ends, wanted = np.array([quick.low, quick.high]), np.array([plain.low, plain.high])
    assert np.abs(ends - wanted).max() < 0.06 * np.ptp(wanted)


def test_skewed_mean_is_the_bca_bootstrap_of_scipy():
    values = np.random.default_rng(RNG_SEED).exponential(size=60) ** 2
    found = estimate.mean(values.tolist())
    assert found.method == "BCa bootstrap"
    other = stats.bootstrap((values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(1))
    width = other.confidence_interval.high - other.confidence_interval.low
    assert found.low == pytest.approx(other.confidence_interval.low, abs=0.05 * width)
    assert found.high == pytest.approx(other.confidence_interval.high, abs=0.05 * width)


def test_the_bootstrap_gives_the_same_every_time():
    values = (np.random.default_rng(RNG_SEED).exponential(size=30) ** 3).tolist()
    assert estimate.mean(values) == estimate.mean(values)


def test_mean_covers_what_it_says():
    generator = np.random.default_rng(RNG_SEED)
    hits = 0
    for _ in range(300):
        found = estimate.mean(generator.poisson(0.3, size=60).tolist())
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.3 <= found.high
    assert hits / 300 > 0.90


def test_no_interval_reaches_below_zero_for_counts():
    found = estimate.mean([0, 0, 0, 0, 1, 2])
    assert found.low == 0.0
    assert estimate.mean([-1.0, 1.0, -2.0, 2.0], floor=None).low < 0  # type: ignore[operator]


def _bca_of_counts(ones: int, n: int, level: float) -> tuple[list[float], float]:
    """The ends in closed form, and how far the nearest of them is from the next step, in standard errors.

    A resample of ``ones`` ones among zeroes has a binomial sum, and the jackknife gives skewness / 6 sqrt(n).
    """
    total, p = stats.binom(n, ones / n), ones / n
    bias = stats.norm.ppf(total.cdf(ones - 1) + total.pmf(ones) / 2)
    pull = (1 - 2 * p) / math.sqrt(p * (1 - p) * n) / 6
    ends, room = [], math.inf
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + stats.norm.ppf(tail)
        share = stats.norm.cdf(bias + z / (1 - pull * z))
        end = total.ppf(share)
        error = math.sqrt(share * (1 - share) / estimate.BOOTSTRAP_RESAMPLES)
        room = min(room, (share - total.cdf(end - 1)) / error, (total.cdf(end) - share) / error)
        ends.append(float(end) / n)
    return ends, room


# Cases where half the correction for ties, or no acceleration, gives another end.
@pytest.mark.parametrize(
    ("ones", "n", "level"),
    [
        (3, 13, 0.95),
        (4, 13, 0.95),
        (4, 14, 0.95),
        (2, 3000, 0.9),
        (1, 3000, 0.7),
        (2, 3000, 0.8),
        (3, 3000, 0.6),
    ],
)
def test_ties_count_half_in_the_bias_and_skewness_accelerates(ones, n, level):
    wanted, room = _bca_of_counts(ones, n, level)
    assert room > 4  # of 5,000 resamples: one wrong alarm in 1e4
    found = estimate.mean([1.0] * ones + [0.0] * (n - ones), level=level)
    assert found.method == "BCa bootstrap"
    assert [found.low, found.high] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("ones", "method"), [(9, "BCa bootstrap"), (10, "t")])
def test_t_needs_25_times_the_squared_skewness(ones, method):
    """Of 40 machines 9 give 43.4 > 40, and 10 give 33.3."""
    assert estimate.mean([1.0] * ones + [0.0] * (40 - ones)).method == method


@pytest.mark.parametrize(("n", "method"), [(7, "t"), (8, "BCa bootstrap")])
def test_few_values_are_not_resampled(n, method):
    assert estimate.mean([1.0] + [0.0] * (n - 1)).method == method


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 20), (1, 20), (1, 1000), (3, 20), (19, 20), (20, 20), (500, 1000)]
)
def test_proportion_is_wilson(successes, n):
    found = estimate.proportion(successes, n)
    other = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert found.low == pytest.approx(other.low, abs=1e-12)
    assert found.high == pytest.approx(other.high, abs=1e-12)


@pytest.mark.parametrize("events", [0, 1, 7, 100])
def test_rate_is_the_exact_poisson_interval(events):
    found = estimate.rate(events, 50.0, 10)
    low = stats.chi2.ppf(0.025, 2 * events) / 2 if events else 0.0
    assert found.low == pytest.approx(low / 50)
    assert found.high == pytest.approx(stats.chi2.ppf(0.975, 2 * events + 2) / 2 / 50)


def test_zero_events_give_a_bound_and_never_zero_plus_minus_zero():
    found = estimate.mean([0] * 500)
    assert found.value == 0.0
    assert found.high == pytest.approx(3.6889 / 500, rel=1e-4)
    assert "0.0074 of all replications" in found.note
    amount = estimate.mean([0] * 500, counts=False)
    assert (amount.low, amount.high) == (None, None)
    assert "0.0074" in amount.note
    ratio = estimate.ratio([0, 0, 0], [5, 6, 7])
    assert ratio.high == pytest.approx(3.6889 / 18, rel=1e-4)


def test_zero_share_bound_is_clopper_pearson():
    other = stats.binomtest(0, 500).proportion_ci(method="exact")
    assert estimate.zero_share_bound(500) == pytest.approx(other.high)


def test_ratio_agrees_with_the_delta_method():
    generator = np.random.default_rng(RNG_SEED)
    bottom = generator.poisson(20, size=400).astype(float)
    top = generator.binomial(bottom.astype(int), 0.3).astype(float)
    found = estimate.ratio(top.tolist(), bottom.tolist())
    value = top.sum() / bottom.sum()
    error = math.sqrt(((top - value * bottom) ** 2).sum() / 399 / 400) / bottom.mean()
    assert found.value == pytest.approx(value)
    assert found.high - found.low == pytest.approx(2 * 1.966 * error, rel=0.02)  # type: ignore[operator]


def _jackknife(ratios: list[float]) -> float:
    """Half the 95 % interval from the value without each replication in turn."""
    n, middle = len(ratios), sum(ratios) / len(ratios)
    variance = (n - 1) / n * sum((each - middle) ** 2 for each in ratios)
    return float(stats.t.ppf(0.975, n - 1)) * math.sqrt(variance)


TOPS, BOTTOMS, OTHER_TOPS = [1.0, 4.0, 2.0], [5.0, 6.0, 9.0], [3.0, 5.0, 5.0]


def _without_each(tops: list[float]) -> list[float]:
    return [(sum(tops) - top) / (sum(BOTTOMS) - bottom) for top, bottom in zip(tops, BOTTOMS, strict=True)]


def test_ratio_of_three_by_hand():
    found = estimate.ratio(TOPS, BOTTOMS, floor=None)
    half = _jackknife(_without_each(TOPS))
    assert (found.value, found.method, found.n) == (7 / 20, "jackknife", 3)
    assert [found.low, found.high] == pytest.approx([0.35 - half, 0.35 + half])
    assert estimate.ratio(TOPS, BOTTOMS).low == max(0.0, 0.35 - half)


def test_difference_of_ratios_of_three_by_hand():
    found = estimate.paired_ratio_difference((TOPS, BOTTOMS), (OTHER_TOPS, BOTTOMS))
    left = [b - a for a, b in zip(_without_each(TOPS), _without_each(OTHER_TOPS), strict=True)]
    half, value = _jackknife(left), 6 / 20
    assert found.value == pytest.approx(value)
    assert [found.low, found.high] == pytest.approx([value - half, value + half])
    score = value / half * stats.t.ppf(0.975, 2)
    assert found.p_value == pytest.approx(2 * stats.t.sf(score, 2))
    assert found.correlation == pytest.approx(np.corrcoef(TOPS, OTHER_TOPS)[0, 1])


def test_ratio_without_anything_to_divide_by_has_no_value():
    assert estimate.ratio([0, 0], [0, 0]).value is None
    one_machine_had_errors = estimate.ratio([1, 0], [2, 0])
    assert (one_machine_had_errors.value, one_machine_had_errors.low) == (0.5, None)


def test_paired_difference_is_the_paired_t_test():
    generator = np.random.default_rng(RNG_SEED)
    first = generator.normal(10, 3, size=50)
    second = first + generator.normal(1, 0.5, size=50)
    found = estimate.paired_difference(first.tolist(), second.tolist())
    other = stats.ttest_rel(second, first)
    interval = other.confidence_interval()
    assert found.method == "paired t"
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high])
    assert found.p_value == pytest.approx(other.pvalue)
    assert found.correlation == pytest.approx(np.corrcoef(first, second)[0, 1])


def test_equal_pairs_are_stated_exactly():
    found = estimate.paired_difference([1, 2, 3, 4], [1, 2, 3, 4])
    assert (found.value, found.low, found.high) == (0.0, None, None)
    assert found.method == "exact, all pairs alike"
    assert "no difference in any of 4 pairs; at most 0.6 of all pairs deviate" in found.note


@pytest.mark.parametrize("constant_first", [True, False])
def test_a_side_that_never_varies_has_no_correlation(constant_first):
    pair = [2.0] * 4, [1.0, 2.0, 3.0, 6.0]
    found = estimate.paired_difference(*(pair if constant_first else pair[::-1]))
    assert (found.method, found.correlation) == ("paired t", None)


def test_two_pairs_tell_no_correlation():
    found = estimate.paired_difference([1.0, 2.0], [1.0, 4.0])
    assert (found.value, found.n, found.correlation) == (1.0, 2, None)
    assert estimate.paired_difference([1.0, 2.0, 4.0], [1.0, 4.0, 5.0]).correlation == pytest.approx(
        np.corrcoef([1.0, 2.0, 4.0], [1.0, 4.0, 5.0])[0, 1]
    )


def test_a_constant_shift_is_not_called_no_difference():
    found = estimate.paired_difference([1, 2, 3], [2, 3, 4])
    assert found.value == 1.0
    assert found.note.startswith("the same difference in each of 3 pairs")


def test_paired_ratios_profit_from_the_pairs():
    generator = np.random.default_rng(RNG_SEED)
    bottom = generator.poisson(20, size=300).astype(float)
    first = generator.binomial(bottom.astype(int), 0.3).astype(float)
    second = first + generator.binomial(1, 0.5, size=300)
    found = estimate.paired_ratio_difference(
        (first.tolist(), bottom.tolist()), (second.tolist(), bottom.tolist())
    )
    assert found.value == pytest.approx((second - first).sum() / bottom.sum())
    alone = estimate.ratio(first.tolist(), bottom.tolist())
    assert found.high - found.low < alone.high - alone.low  # type: ignore[operator]
    assert found.low > 0  # type: ignore[operator]
    assert found.p_value < 1e-6  # type: ignore[operator]


def test_one_value_has_no_interval():
    assert (estimate.mean([4.0]).value, estimate.mean([4.0]).low) == (4.0, None)
    assert estimate.paired_difference([1.0], [2.0]).low is None
    assert estimate.mean([]).value is None


def test_holm_by_hand():
    assert estimate.holm([0.01, 0.04, None, 0.03]) == [
        pytest.approx(0.03),
        pytest.approx(0.06),
        None,
        pytest.approx(0.06),
    ]


def test_json_form_has_every_part():
    assert list(estimate.mean([1.0, 2.0, 4.0]).as_dict()) == ["estimate", "low", "high", "method", "n"]
    assert "note" in estimate.mean([0.0, 0.0]).as_dict()


def test_who_has_nothing_to_divide_by_is_no_evidence_that_all_are_alike():
    """Three machines of 300 had such an error, and all panicked: at most 71 % do otherwise, not 1.2 %."""
    bottoms = [1.0] * 3 + [0.0] * 297
    alike = estimate.ratio(bottoms, bottoms)
    none = estimate.ratio([0.0] * 300, bottoms, counts=False)
    difference = estimate.paired_ratio_difference((bottoms, bottoms), (bottoms, bottoms))
    assert (alike.value, none.value, difference.value) == (1.0, 0.0, 0.0)
    assert [alike.n, none.n, difference.n] == [3, 3, 3]
    assert "at most 0.71 of all" in none.note
    assert "at most 0.71 of all" in difference.note
