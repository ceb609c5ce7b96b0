"""Does a sequence change its level, and where? The best single step, with a test that needs no assumption on its noise.

Least squares: of all ways to cut a sequence in two, the one that leaves the smallest sum of squares around the two
parts' means (the change point of Hinkley 1970). There is always a best cut, so it is tested: how large a share of the
variance do the best cuts of the same values in random order explain (Antoch and Huskova 2001)? Nothing is set by hand.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Sequences of so few values are tested against every order of them.
EXACT_UP_TO = 6
#: Longer ones against so many random orders, always the same.
ORDERS, SEED = 1999, 0


@dataclass(frozen=True)
class Step:
    """The best cut of a sequence.

    Attributes:
        at: index of the first value behind the cut.
        size: mean behind it minus mean before it.
        explained: the share of the variance that two levels explain, 0 to 1.
        p_value: how often values in random order are explained as well. It cannot be below 1/n! of n values.
    """

    at: int
    size: float
    explained: float
    p_value: float


def best_step(values: NDArray[np.float64]) -> Step | None:
    """The step of a sequence; None where it has fewer than two values or all are equal."""
    n = len(values)
    if n < 2 or np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return None
    shares = _explained(values[None])[0]
    at = int(shares.argmax()) + 1
    best = float(shares.max())
    as_good = _explained(_orders(values)).max(axis=1) >= best - 1e-9
    exact = n <= EXACT_UP_TO
    p_value = as_good.mean() if exact else (1 + as_good.sum()) / (1 + len(as_good))
    return Step(at, float(values[at:].mean() - values[:at].mean()), min(best, 1.0), float(p_value))


def _explained(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """[rows, cuts]: the share of each row's variance that a cut behind value 1, 2, ... n - 1 explains."""
    n = rows.shape[1]
    centred = rows - rows.mean(axis=1, keepdims=True)
    before = centred.cumsum(axis=1)[:, :-1]
    size = np.arange(1, n)
    # Between-group sum of squares of two groups whose sums are s and -s.
    return before**2 * (1 / size + 1 / (n - size)) / (centred**2).sum(axis=1, keepdims=True)


def _orders(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values in every order, or in random ones."""
    n = len(values)
    if n <= EXACT_UP_TO:
        orders = np.array(list(itertools.permutations(range(n))))
        assert len(orders) == math.factorial(n)
        return values[orders]
    generator = np.random.default_rng(SEED)
    return generator.permuted(np.tile(values, (ORDERS, 1)), axis=1)
