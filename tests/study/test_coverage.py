"""95 % intervals contain the truth about 95 times in a hundred: the small form of the proof."""

from __future__ import annotations

from scipy.stats import binom

from tests.support.coverage_studies import covered, pool

ALPHA = 1e-4  # for all four together


def test_intervals_contain_the_truth() -> None:
    """200 studies of 30 machines: the count a coverage of 93 to 97 % allows."""
    for (name, which), (hits, studies) in covered(pool(0, 6_000), 30).items():
        assert studies == 200
        low = binom.ppf(ALPHA / 8, studies, 0.93)
        high = binom.ppf(1 - ALPHA / 8, studies, 0.97)
        assert low <= hits <= high, (name, which, hits / studies)
