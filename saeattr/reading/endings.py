"""Where an ending sets in, pair by pair: the place from which on the two requests leave the next token unequally open.

d_k is the entropy at the k-th span of a role under the clean request minus that under the corrupted one: what the text
alone does to the entropy is in both and falls out. The ending sets in at the best single step of d (``step``). Beside
it, how fast the entropy rises under either request: the least-squares slope over the spans' numbers.

The step's test asks whether the order of the d_k matters at all. A steady climb of d is significant too, and its step
then lies near the middle: look at the share of the variance that the step explains.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saeattr.reading.entropy import CLEAN, CORRUPTED
from saeattr.reading.step import best_step
from saeattr.stats import median_interval
from saeattr.tables import ENTROPY_ONSET, PAIR

#: A step of no more than this p-value is called one.
SIGNIFICANT = 0.05
#: Only pairs of so many spans can have one: of n values in two levels, 2 of n! / (n/2)!^2 orders keep the levels apart.
TESTABLE_FROM = next(n for n in range(2, 100) if 2 / math.comb(n, n // 2) <= SIGNIFICANT)


def entropy_onsets(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each pair, request written to and role with two spans or more that both runs have.

    Args:
        rows: ``tables.ENTROPY``.
    """
    both = rows.pivot_table(
        index=[*PAIR, "written", "role", "number", "from_end"], columns="read", values="entropy", sort=False
    )
    if CORRUPTED not in both or CLEAN not in both:
        return ENTROPY_ONSET.empty()
    found = []
    for key, own in both.dropna().groupby([*PAIR, "written", "role"], sort=False):
        own = own.sort_index(level="number")
        if len(own) > 1:
            names = dict(zip((*PAIR, "written", "role"), key, strict=True))  # pyright: ignore[reportArgumentType]
            found.append({**names, **_onset(own)})
    return ENTROPY_ONSET.frame(pd.DataFrame(found))


def _onset(own: pd.DataFrame) -> dict[str, float]:
    """The numbers of one pair."""
    number, from_end = (own.index.get_level_values(name).to_numpy() for name in ("number", "from_end"))
    clean, corrupted = (own[run].to_numpy(dtype=float) for run in (CLEAN, CORRUPTED))
    step = best_step(clean - corrupted)
    nothing = {"onset": np.nan, "from_end": np.nan, "step": np.nan, "explained": np.nan, "p_value": 1.0}
    return {
        "n_spans": len(own),
        "rise_clean": slope(number, clean),
        "rise_corrupted": slope(number, corrupted),
        **(
            nothing
            if step is None
            else {
                "onset": number[step.at],
                "from_end": from_end[step.at],
                "step": step.size,
                "explained": step.explained,
                "p_value": step.p_value,
            }
        ),
    }


def slope(at: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    """The least-squares slope of values over where they stand."""
    centred = at - at.mean()
    return float((centred * values).sum() / (centred**2).sum())


def rises(onsets: pd.DataFrame) -> pd.DataFrame:
    """How fast the entropy rises: medians over pairs, by request written to.

    Returns:
        written, run (clean, corrupted, and difference: clean minus corrupted, pair by pair), n_pairs, median, low, high
        (nats a span; the ends are NaN with fewer than six pairs).
    """
    found = []
    for written, own in onsets.groupby("written", sort=False):
        sides = {CLEAN: own["rise_clean"], CORRUPTED: own["rise_corrupted"]}
        sides["difference"] = sides[CLEAN] - sides[CORRUPTED]
        for run, values in sides.items():
            low, high = median_interval(values.to_numpy(dtype=float)[None])
            ends = {"median": float(values.median()), "low": float(low[0]), "high": float(high[0])}
            found.append({"written": written, "run": run, "n_pairs": len(own), **ends})
    return pd.DataFrame(found, columns=["written", "run", "n_pairs", "median", "low", "high"])
