"""Is a feature's exact effect more than chance and more than what matched features do? p, q and a verdict.

p: a sign-flip test over lists (Fisher's randomisation test, 1935) of the paired differences between a feature's exact
effect and the mean of its controls'. q: Benjamini and Hochberg (1995) over all features tested.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Verdict = Literal["causal", "weak", "not causal", "opposite sign"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

#: A feature with q above this is not causal.
LEVEL = 0.05
#: Up to so many lists every combination of signs is looked at; above, this many are drawn.
ALL_SIGNS_LISTS = 14
DRAWS = 10_000
#: With fewer lists no p-value can reach ``LEVEL``: the smallest is 2 / 2^lists.
FEWEST_LISTS = 6


def sign_flip_p(differences: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Two-sided p-values that the mean over lists is this far from 0, if each list's sign were a coin's.

    Args:
        differences: [rows, lists].
        seed: of the drawn signs, above ``ALL_SIGNS_LISTS`` lists.

    Returns:
        [rows]: the share of sign combinations whose |mean| is at least the observed one. Exact up to
        ``ALL_SIGNS_LISTS`` lists (the smallest possible is 2 / 2^lists); else (1 + hits) / (1 + ``DRAWS``). A row
        of zeros has 1.
    """
    n_lists = differences.shape[1]
    exact = n_lists <= ALL_SIGNS_LISTS
    if exact:
        # Turning every sign changes no |mean|: one sign may stay as it is.
        bits = np.arange(2 ** (n_lists - 1))[:, None] >> np.arange(n_lists)[None]
        signs = 1.0 - 2.0 * (bits & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(DRAWS, n_lists))
    observed = np.abs(differences.sum(axis=1))
    # Equal sums added in another order differ in the last bits.
    slack = 1e-10 * np.abs(differences).sum(axis=1)
    hits = np.array(
        [(np.abs(signs @ row) >= seen).sum() for row, seen in zip(differences, observed - slack, strict=True)]
    )
    return hits / len(signs) if exact else (1 + hits) / (1 + len(signs))


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """q-values: the false discovery rate at which each test is just rejected (Benjamini and Hochberg 1995)."""
    n = len(p)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * n / np.arange(1, n + 1)
    q = np.empty(n)
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return q


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` with q_value (over all its rows) and verdict; see ``verdict`` for what the verdicts mean.

    It may hold one topic or several: q-values answer for what is tested together.

    Args:
        table: p_value, effect_mean (attribution), exact_mean, exact_low, exact_high, control_low, control_high.
    """
    judged = table.assign(q_value=benjamini_hochberg(table["p_value"].to_numpy(dtype=float)))
    return judged.assign(verdict=[verdict(row) for row in judged.to_dict("records")])


def verdict(row: dict[str, float]) -> Verdict:
    """The verdict on one feature.

    A feature is significant if q <= 0.05 and the 95 % interval of its exact effect excludes 0. Then it is

    - ``opposite sign`` if its exact effect has another sign than its attribution;
    - ``causal`` if moreover the end of its interval that is nearer to 0 is farther from 0 than either end of the
      interval of its controls' mean effect: it does more than matched features do, in whichever direction;
    - ``weak`` if it does not clear its controls in this way, or has none.

    All others are ``not causal``.
    """
    excludes_zero = row["exact_low"] > 0 or row["exact_high"] < 0
    if not (row["q_value"] <= LEVEL and excludes_zero):
        return "not causal"
    if np.sign(row["exact_mean"]) != np.sign(row["effect_mean"]):
        return "opposite sign"
    nearer = min(abs(row["exact_low"]), abs(row["exact_high"]))
    # A comparison with NaN (no controls) is false.
    return "causal" if nearer > max(abs(row["control_low"]), abs(row["control_high"])) else "weak"
