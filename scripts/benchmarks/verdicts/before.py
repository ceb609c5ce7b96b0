"""The verdicts as they were before they were measured here: ranked and tested on the same pairs.

Ten controls matched in the length and frequency of what they change; sign flips of the difference to the mean control,
Benjamini and Hochberg's q over all that is tested together; percentile bootstrap intervals; ``causal`` if a feature's
interval lies farther from 0 than that of its mean control. Kept to compare the present verdicts with
(``saeattr.validation``); nothing else uses it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

Values = NDArray[np.float64]

CONTROLS = 10
LEVEL = 0.05
RESAMPLES = 2000
#: Up to so many pairs every combination of signs is looked at; above, so many are drawn.
ALL_SIGNS_PAIRS, DRAWS = 14, 10_000


def match_controls(
    change_norm: Values, frequency: Values, feature: int, excluded: Sequence[int], count: int = CONTROLS
) -> NDArray[np.int64]:
    """The features of a site nearest to one in change norm and frequency, the nearest first.

    Args:
        change_norm: |f_base - f_clean| |W_dec|, averaged over the tokens at which a feature has an entry.
        frequency: the share of tokens at which it has one.
        excluded: never chosen.
    """
    can = (change_norm > 0) & (frequency > 0)
    can[[feature, *excluded]] = False
    candidates = np.flatnonzero(can)
    distance = np.zeros(len(candidates))
    for values in (change_norm, frequency):
        distance += np.abs(np.log(values[candidates]) - np.log(max(values[feature], np.finfo(float).tiny)))
    return candidates[np.argsort(distance, kind="stable")[:count]]


def judge_before(
    effects: pd.DataFrame, controls: Mapping[Hashable, Sequence[Hashable]], estimates: pd.Series, seed: int
) -> pd.DataFrame:
    """One row for each tested feature, by feature.

    Args:
        effects: exact effects, one row for each tested feature and each control, one column a pair.
        controls: by tested feature.
        estimates: mean attribution over the same pairs, by feature.

    Returns:
        estimate, exact_mean, exact_low, exact_high, control_low, control_high, p_value, q_value, verdict.
    """
    tested = list(controls)
    known = dict(zip(effects.index, effects.to_numpy(dtype=float), strict=True))
    mine = np.stack([known[one] for one in tested])
    nothing = np.full(effects.shape[1], np.nan)
    control = np.stack([np.mean([known[one] for one in controls[of]] or [nothing], axis=0) for of in tested])
    table = pd.DataFrame({"estimate": [float(estimates.get(one, 0.0)) for one in tested]})
    table["exact_mean"] = mine.mean(axis=1)
    table["exact_low"], table["exact_high"] = bootstrap_interval(mine, seed)
    table["control_low"], table["control_high"] = bootstrap_interval(control, seed)
    table["p_value"] = sign_flip_p(mine - np.nan_to_num(control), seed)
    table["q_value"] = false_discovery_control(table["p_value"].to_numpy())
    table["verdict"] = [verdict(row) for row in table.to_dict("records")]
    return table.assign(tested=pd.Series(tested)).set_index("tested")


def verdict(row: Mapping[Hashable, float]) -> str:
    """causal, weak (does not clear its controls), opposite sign (of its attribution) or not causal."""
    excludes_zero = row["exact_low"] > 0 or row["exact_high"] < 0
    if not (row["q_value"] <= LEVEL and excludes_zero):
        return "not causal"
    if np.sign(row["exact_mean"]) != np.sign(row["estimate"]):
        return "opposite sign"
    nearer = min(abs(row["exact_low"]), abs(row["exact_high"]))
    # A comparison with NaN (no controls) is false.
    return "causal" if nearer > max(abs(row["control_low"]), abs(row["control_high"])) else "weak"


def bootstrap_interval(values: Values, seed: int, level: float = 0.95) -> tuple[Values, Values]:
    """Percentile bootstrap of the mean over the last axis; every row, [rows, pairs], is resampled alike."""
    n_pairs = values.shape[1]
    draws = np.random.default_rng(seed).integers(0, n_pairs, (RESAMPLES, n_pairs))
    weights = np.stack([np.bincount(draw, minlength=n_pairs) for draw in draws], axis=1) / n_pairs
    low, high = np.quantile(values @ weights, [(1 - level) / 2, (1 + level) / 2], axis=1)
    return low, high


def sign_flip_p(differences: Values, seed: int) -> Values:
    """Two-sided p-values that the mean over pairs, [rows, pairs], is this far from 0 if each sign were a coin's."""
    n_pairs = differences.shape[1]
    exact = n_pairs <= ALL_SIGNS_PAIRS
    if exact:
        # Turning every sign changes no |mean|: one sign may stay as it is.
        bits = np.arange(2 ** (n_pairs - 1))[:, None] >> np.arange(n_pairs)[None]
        signs = 1.0 - 2.0 * (bits & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(DRAWS, n_pairs))
    # Equal sums added in another order differ in the last bits.
    observed = np.abs(differences.sum(axis=1)) - 1e-10 * np.abs(differences).sum(axis=1)
    hits = (np.abs(differences @ signs.T) >= observed[:, None]).sum(axis=1)
    return hits / len(signs) if exact else (1 + hits) / (1 + len(signs))
