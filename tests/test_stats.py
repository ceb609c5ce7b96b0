"""Intervals and tests against counting: binomials by hand, coverage by simulation, scipy's own functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from saeattr.stats import (
    benjamini_hochberg,
    mean_interval,
    median_interval,
    ratio_interval,
    shannon_index,
    share_interval,
    sign_test,
)

ABOVE = np.array([1.0, 4.0, 2.5, 6.0, 3.0, 0.5, 5.0, 2.0])
BELOW = np.array([2.0, 5.0, 3.5, 8.0, 4.5, 1.0, 7.0, 3.0])

#: Spreads of which the median is known: near normal, long-tailed on one side, on both, and half of it at one value.
SPREADS = {
    "normal": (lambda source, shape: source.normal(1.0, 1.0, shape), 1.0),
    "exponential": (lambda source, shape: source.exponential(1.0, shape), math.log(2)),
    "lognormal": (lambda source, shape: source.lognormal(0.0, 2.0, shape), 1.0),
    "cauchy": (lambda source, shape: source.standard_cauchy(shape), 0.0),
}


def coverage(low: NDArray[np.float64], high: NDArray[np.float64], truth: float) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("n_pairs", [6, 7, 10, 15, 20, 31])
@pytest.mark.parametrize("spread", SPREADS)
def test_a_medians_interval_holds_it_95_times_in_100_whatever_the_spread(spread: str, n_pairs: int) -> None:
    draw, truth = SPREADS[spread]
    values = draw(np.random.default_rng(n_pairs), (4000, n_pairs))
    assert 0.93 <= coverage(*median_interval(values), truth) <= 0.97


def test_a_means_interval_does_not_where_a_few_pairs_are_large() -> None:
    """Why effects are summarised by their median."""
    values = np.random.default_rng(0).lognormal(0.0, 2.0, (4000, 10))
    assert coverage(*mean_interval(values), math.exp(2.0)) < 0.8


def held(n: int, depth: int) -> float:
    return 1 - 2 * sum(math.comb(n, below) for below in range(depth)) / 2**n


@pytest.mark.parametrize(("n_pairs", "depth"), [(6, 1), (10, 2), (20, 6)])
def test_its_ends_lie_between_two_order_statistics_as_binomials_say(n_pairs: int, depth: int) -> None:
    """Of 1 to n the d-th smallest is d, so an end shows where between d and d + 1 it lies."""
    assert held(n_pairs, depth) >= 0.95 > held(n_pairs, depth + 1)
    between = (held(n_pairs, depth) - 0.95) / (held(n_pairs, depth) - held(n_pairs, depth + 1))
    part = (n_pairs - depth) * between / (depth + (n_pairs - 2 * depth) * between)
    shuffled = np.array(np.random.default_rng(1).permutation(n_pairs) + 1, dtype=np.float64)
    low, high = median_interval(np.stack([shuffled, -shuffled]))
    assert low[0] == pytest.approx(depth + part)
    assert high[0] == pytest.approx(n_pairs + 1 - depth - part)
    assert (low[1], high[1]) == pytest.approx((-high[0], -low[0]))


@pytest.mark.parametrize("n_pairs", [1, 2, 5])
def test_fewer_than_six_pairs_have_no_interval_of_their_median(n_pairs: int) -> None:
    low, high = median_interval(np.ones((3, n_pairs)))
    assert np.isnan([*low, *high]).all()
    assert np.isfinite(median_interval(np.ones((3, 6)))).all()


@given(st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.3, 1.0, 4.0]), min_size=1, max_size=12))
def test_a_sign_test_is_two_binomial_tails(effects: list[float]) -> None:
    """Pairs without an effect count against either direction."""
    n, most = len(effects), max(sum(one > 0 for one in effects), sum(one < 0 for one in effects))
    tail = sum(math.comb(n, count) for count in range(most, n + 1)) / 2**n
    assert sign_test(np.array([effects]))[0] == pytest.approx(min(1.0, 2 * tail))


def test_a_sign_test_under_its_null_is_rarely_small() -> None:
    values = np.random.default_rng(3).lognormal(0.0, 1.5, (20_000, 10)) - 1.0
    p = sign_test(values)
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() <= level + 0.005
    assert sign_test(np.stack([np.ones(10), np.zeros(10)])).tolist() == [2 / 2**10, 1.0]


def test_a_means_interval_is_students() -> None:
    low, high = mean_interval(np.stack([ABOVE, -ABOVE]), 0.9)
    expected = scipy.stats.ttest_1samp(ABOVE, 0.0).confidence_interval(0.9)
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high))
    assert (low[1], high[1]) == pytest.approx((-high[0], -low[0]))
    assert np.isnan(mean_interval(np.array([[2.0], [-1.0]]))).all()


def test_a_ratios_interval_holds_the_ratio_of_the_means() -> None:
    """Numerator and denominator of a pair go together; taken apart the interval would be several times as wide."""
    source = np.random.default_rng(5)
    hits, widths = 0, []
    for _ in range(1000):
        below = source.gamma(4.0, 1.0, 20)
        above = 0.5 * below + source.normal(0, 0.3, 20)
        ratio, low, high = ratio_interval(above, below)
        assert ratio == pytest.approx(above.mean() / below.mean())
        hits += low <= 0.5 <= high
        widths.append(high - low)
    assert 0.92 <= hits / 1000 <= 0.98
    apart = scipy.stats.t.ppf(0.975, 19) * 2 * np.std(0.5 * source.gamma(4.0, 1.0, 10_000)) / 20**0.5 / 4
    assert np.mean(widths) < apart


def test_a_ratio_that_is_the_same_in_every_pair_has_no_spread_and_no_unit() -> None:
    assert ratio_interval(0.25 * BELOW, BELOW) == pytest.approx((0.25, 0.25, 0.25))
    assert ratio_interval(ABOVE / 1000, BELOW / 1000) == pytest.approx(ratio_interval(ABOVE, BELOW))


def test_an_unknown_or_missing_whole_has_no_ratio_and_one_pair_no_interval() -> None:
    for whole in (np.full(8, np.nan), np.zeros(8)):
        assert all(math.isnan(one) for one in ratio_interval(ABOVE, whole))
    ratio, low, high = ratio_interval(np.array([3.0]), np.array([4.0]))
    assert ratio == 0.75
    assert math.isnan(low)
    assert math.isnan(high)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_q_values_are_those_of_benjamini_and_hochberg(p: list[float]) -> None:
    np.testing.assert_allclose(benjamini_hochberg(np.array(p)), scipy.stats.false_discovery_control(p), atol=1e-12)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (1, 5), (3, 7), (40, 41)])
def test_a_shares_interval_is_scipys_exact_one(hits: int, n: int) -> None:
    exact = scipy.stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    assert share_interval(hits, n) == pytest.approx((exact.low, exact.high))


def test_a_shares_interval_holds_it_at_least_95_times_in_100() -> None:
    for truth in (0.03, 0.2, 0.5, 0.97):
        for n in (3, 5, 10, 30):
            weights = scipy.stats.binom.pmf(np.arange(n + 1), n, truth)
            ends = [share_interval(hits, n) for hits in range(n + 1)]
            assert sum(w for w, (low, high) in zip(weights, ends, strict=True) if low <= truth <= high) >= 0.95
    assert all(map(math.isnan, share_interval(0, 0)))


@given(st.lists(st.sampled_from("abcde"), max_size=12))
def test_the_shannon_index_is_the_entropy_of_the_shares(names: list[str]) -> None:
    found = shannon_index(names)
    shares = [names.count(name) / len(names) for name in dict.fromkeys(names)]
    assert found == pytest.approx(math.fsum(share * math.log(1 / share) for share in shares), abs=1e-12)
    assert 0 <= found <= math.log(max(1, len(set(names)))) + 1e-12
