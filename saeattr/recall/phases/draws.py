"""Facts drawn again: bootstrap intervals of what is read of mean curves (Efron 1979), with a fixed seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from saeattr.stats import LEVEL

#: Times that all facts are drawn again, with replacement; and the seed of it.
DRAWS, SEED = 2000, 0

Array = NDArray[np.float64]


def fact_weights(n_facts: int, seed: int = SEED) -> Array:
    """How much each fact weighs in each draw, [1 + DRAWS, facts]; the first row is the facts as they are.

    Facts are drawn regardless of their category.
    """
    drawn = np.random.default_rng(seed).multinomial(n_facts, np.full(n_facts, 1 / n_facts), DRAWS)
    return np.concatenate([np.ones((1, n_facts)), drawn]) / n_facts


def draw_interval(values: Array, level: float = LEVEL) -> tuple[float, float]:
    """The percentiles of a number over draws; NaN for one fact, whose draws are all alike, or where a draw has none.

    Args:
        values: of ``fact_weights``' rows; the first is the number itself.
    """
    drawn = values[1:]
    if not len(drawn) or np.isnan(drawn).any():
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def drawn_columns(name: str, values: Array, n_facts: int) -> dict[str, Any]:
    """A number with its interval, as a table's columns NAME, NAME_low and NAME_high."""
    low, high = draw_interval(values) if n_facts > 1 else (float("nan"), float("nan"))
    return {name: float(values[0]), f"{name}_low": low, f"{name}_high": high}
