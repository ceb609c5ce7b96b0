"""Bootstrap intervals against lists resampled one draw at a time."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest

from saeattr.stats import bootstrap_interval, ratio_interval

ABOVE = np.array([1.0, 4.0, 2.5, 6.0, 3.0, 0.5, 5.0, 2.0])
BELOW = np.array([2.0, 5.0, 3.5, 8.0, 4.5, 1.0, 7.0, 3.0])


def resampled(statistic, draws: int = 20_000) -> list[float]:
    """The statistic of whole lists drawn with replacement, sorted."""
    source = random.Random(7)
    lists = range(len(ABOVE))
    return sorted(statistic(source.choices(lists, k=len(ABOVE))) for _ in range(draws))


def mean_of(values: np.ndarray, lists: list[int]) -> float:
    return statistics.fmean(float(values[at]) for at in lists)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_a_means_interval_is_that_of_resampled_lists(level: float) -> None:
    means = resampled(lambda lists: mean_of(ABOVE, lists))
    low, high = bootstrap_interval(np.stack([ABOVE, -ABOVE]), 3, level)
    tail = (1 - level) / 2
    spread = statistics.pstdev(means)
    expected = (means[int(tail * len(means))], means[int((1 - tail) * len(means)) - 1])
    assert (low[0], high[0]) == pytest.approx(expected, abs=0.12 * spread)
    # The same draws for every row: the mirrored row has the mirrored interval.
    assert (low[1], high[1]) == pytest.approx((-high[0], -low[0]))


def test_a_ratios_interval_is_that_of_both_means_resampled_together() -> None:
    """With a denominator that stays as it is the interval is several times as wide."""
    ratios = resampled(lambda lists: mean_of(ABOVE, lists) / mean_of(BELOW, lists))
    ratio, low, high = ratio_interval(ABOVE, BELOW, 3)
    spread = statistics.pstdev(ratios)
    assert ratio == pytest.approx(24 / 34)
    assert low == pytest.approx(ratios[int(0.025 * len(ratios))], abs=0.2 * spread)
    assert high == pytest.approx(ratios[int(0.975 * len(ratios)) - 1], abs=0.2 * spread)
    fixed = resampled(lambda lists: mean_of(ABOVE, lists) / float(BELOW.mean()))
    assert statistics.pstdev(fixed) > 4 * spread


def test_a_ratio_that_is_the_same_in_every_list_has_no_spread() -> None:
    assert ratio_interval(0.25 * BELOW, BELOW, 0) == pytest.approx((0.25, 0.25, 0.25))


def test_a_ratio_does_not_depend_on_the_unit_and_is_unknown_where_the_whole_is() -> None:
    assert ratio_interval(ABOVE / 1000, BELOW / 1000, 3) == pytest.approx(ratio_interval(ABOVE, BELOW, 3))
    assert all(math.isnan(one) for one in ratio_interval(ABOVE, np.full(8, np.nan), 0))


def test_one_list_has_no_spread_and_nothing_below_has_no_ratio() -> None:
    low, high = bootstrap_interval(np.array([[2.0], [-1.0]]), 0)
    assert low.tolist() == high.tolist() == [2.0, -1.0]
    assert ratio_interval(np.array([3.0]), np.array([4.0]), 0) == (0.75, 0.75, 0.75)
    assert all(math.isnan(one) for one in ratio_interval(ABOVE, np.zeros(8), 0))
