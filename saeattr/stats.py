"""Means over lists with bootstrap intervals, and q-values of many tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
#: Cells of resampled means held at a time.
_CELLS = 4_000_000


def bootstrap_interval(
    values: NDArray[np.float64], seed: int, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile bootstrap of the mean over the last axis (Efron 1979).

    Args:
        values: [rows, lists]. Every row is resampled with the same draws, so that rows compare.
        seed: of the draws.
        level: coverage.

    Returns:
        low and high, each [rows]. With one list both equal its value: there is no spread to show.
    """
    n_pairs = values.shape[1]
    draws = np.random.default_rng(seed).integers(0, n_pairs, (RESAMPLES, n_pairs))
    weights = np.stack([np.bincount(draw, minlength=n_pairs) for draw in draws], axis=1) / n_pairs
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.empty(len(values)), np.empty(len(values))
    step = max(1, _CELLS // RESAMPLES)
    for start in range(0, len(values), step):
        rows = slice(start, start + step)
        low[rows], high[rows] = np.quantile(values[rows] @ weights, tails, axis=1)
    return low, high


def ratio_interval(
    above: NDArray[np.float64], below: NDArray[np.float64], seed: int, level: float = 0.95
) -> tuple[float, float, float]:
    """A ratio of means over lists, mean(above) / mean(below), with a percentile bootstrap over lists.

    Lists are resampled whole, so that a list's two numbers stay together. A ratio of means, not a mean of ratios: a
    list in which ``below`` is near zero does not blow it up.

    Returns:
        the ratio, low and high; NaN where mean(below) is zero or unknown.
    """
    n_pairs = len(above)
    draws = np.random.default_rng(seed).integers(0, n_pairs, (RESAMPLES, n_pairs))
    # NaN is not above 0 either.
    if not abs(below.mean()) > 0:
        return float("nan"), float("nan"), float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = above[draws].mean(axis=1) / below[draws].mean(axis=1)
    low, high = np.nanquantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return float(above.mean() / below.mean()), float(low), float(high)


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """q-values: the false discovery rate at which each test is just rejected (Benjamini and Hochberg 1995)."""
    n = len(p)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * n / np.arange(1, n + 1)
    q = np.empty(n)
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return q
