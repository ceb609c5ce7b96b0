"""Intervals and tests over few pairs: medians without any assumption on their spread, means and ratios by Student's t.

The effects of one feature differ from pair to pair, often by a few large ones among many small: no interval of their
mean keeps its level at ten pairs (docs/verdicts.md measures several). Order statistics keep it whatever the spread is,
so what is claimed of a feature is claimed of its median over pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, stdtrit

#: Of intervals and tests.
LEVEL = 0.95


def median_interval(
    values: NDArray[np.float64], level: float = LEVEL
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interval of the median over the last axis, by order statistics interpolated (Hettmansperger and Sheather 1986).

    The d-th smallest and d-th largest of n values hold the median between them with probability
    1 - 2 P(Binomial(n, 1/2) < d), whatever the values' distribution; d is the largest that reaches ``level``, and the
    ends lie between it and d + 1 where ``level`` does.

    Args:
        values: [rows, pairs].

    Returns:
        low and high, each [rows]; NaN with so few pairs that none reaches ``level`` (fewer than six at 95 %).
    """
    n = values.shape[1]
    # The deeper, the less often.
    depth = int((_held(n, np.arange(1, n // 2 + 1)) >= level).sum())
    if depth == 0:
        return np.full(len(values), np.nan), np.full(len(values), np.nan)
    ordered = np.sort(values, axis=1)
    more, less = _held(n, depth), _held(n, depth + 1)
    between = (more - level) / (more - less)
    inner = (n - depth) * between / (depth + (n - 2 * depth) * between)
    low = (1 - inner) * ordered[:, depth - 1] + inner * ordered[:, depth]
    high = (1 - inner) * ordered[:, n - depth] + inner * ordered[:, n - depth - 1]
    return low, high


def _held(n: int, depth: Any) -> Any:
    """How often the median lies between the ``depth``-th smallest and the ``depth``-th largest of n values."""
    return 1 - 2 * _at_least(n + 1 - depth, n)


def _at_least(k: Any, n: int) -> Any:
    """P(Binomial(n, 1/2) >= k), 1 for k = 0: an incomplete beta function (scipy.stats takes longer to import)."""
    return np.where(np.asarray(k) > 0, betainc(np.maximum(k, 1), n + 1 - np.maximum(k, 1), 0.5), 1.0)


def sign_test(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-sided p-values that the median over the last axis is 0.

    Pairs without any effect count against both directions.

    Args:
        values: [rows, pairs].
    """
    most = np.maximum((values > 0).sum(axis=1), (values < 0).sum(axis=1))
    return np.minimum(1.0, 2 * _at_least(most, values.shape[1]))


def mean_interval(values: NDArray[np.float64], level: float = LEVEL) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Student's interval of the mean over the last axis.

    Returns:
        low and high, each [rows]; NaN for a single pair.
    """
    n = values.shape[1]
    if n < 2:
        return np.full(len(values), np.nan), np.full(len(values), np.nan)
    reach = stdtrit(n - 1, (1 + level) / 2) * values.std(axis=1, ddof=1) / np.sqrt(n)
    return values.mean(axis=1) - reach, values.mean(axis=1) + reach


def ratio_interval(
    above: NDArray[np.float64], below: NDArray[np.float64], level: float = LEVEL
) -> tuple[float, float, float]:
    """A ratio of means over pairs, mean(above) / mean(below), with Student's interval of its linearisation.

    A pair's part is (above - ratio * below) / mean(below), so its two numbers stay together (Cochran 1977, 6.4). A
    ratio of means, not a mean of ratios: a pair in which ``below`` is near zero does not blow it up.

    Returns:
        the ratio, low and high; all NaN where mean(below) is zero or unknown, the ends for a single pair.
    """
    whole = below.mean()
    # NaN is not above 0 either.
    if not abs(whole) > 0:
        return float("nan"), float("nan"), float("nan")
    ratio = float(above.mean() / whole)
    low, high = mean_interval((above - ratio * below)[None] / whole, level)
    return ratio, ratio + float(low[0]), ratio + float(high[0])


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """q-values: the false discovery rate at which each test is just rejected (Benjamini and Hochberg 1995)."""
    n = len(p)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * n / np.arange(1, n + 1)
    q = np.empty(n)
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return q


def share_interval(hits: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a share, ``hits`` of ``n``, by the binomial distribution itself (Clopper and Pearson 1934).

    It holds its level for every share and every n, 0 of 5 included, and is wider than it need be for most.

    Returns:
        low and high; both NaN where n is 0.
    """
    if n == 0:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def shannon_index(names: Sequence[str]) -> float:
    """-sum p ln p over the shares of distinct names (Shannon 1948), in nats; 0 for an empty list."""
    if not names:
        return 0.0
    shares = np.unique(np.array(names, dtype=object).astype(str), return_counts=True)[1] / len(names)
    return float(-(shares * np.log(shares)).sum() + 0.0)
