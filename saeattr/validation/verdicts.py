"""From exact effects, pair by pair, to one row a feature with the four numbers that its verdict rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saeattr.stats import benjamini_hochberg, median_interval, sign_test
from saeattr.tables import FEATURE, VALIDATION
from saeattr.validation.evidence import ALPHA, FEWEST_PAIRS

Verdict = Literal[
    "causal", "opposite sign", "within controls", "small", "not shown", "too few pairs", "too few controls"
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


def validation_table(
    exact: pd.DataFrame, features: pd.DataFrame, gaps: Mapping[str, float], smallest: float
) -> pd.DataFrame:
    """One row for each tested feature of one group, the largest |attribution| first.

    Args:
        exact: ``tables.EXACT``, of both kinds of evidence.
        features: the group's features.parquet, or ``single_estimates``.
        gaps: by pair_id of the pairs that test, corrupted minus clean metric; NaN where there is no corrupted prompt.
        smallest: the smallest share of the gap of interest.

    Returns:
        ``tables.VALIDATION``; q-values over its rows alone (``judge`` takes them over more).
    """
    tests, ranking = (exact[exact["evidence"] == name] for name in ("test", "ranking"))
    natural = natural_shares(ranking)
    rows = []
    for key, own in tests.groupby(FEATURE, sort=False):
        effects = own.pivot(index="along", columns="pair_id", values="exact")
        feature = int(own["feature"].iloc[0])
        mine, others = effects.loc[feature].to_numpy(float), effects.drop(index=feature).to_numpy(float)
        gap = float(np.median([gaps[pair_id] for pair_id in effects.columns]))
        rows.append(
            {
                **dict(zip(FEATURE, key, strict=True)),
                **effect_numbers(mine, gap, smallest),
                **control_numbers(mine, others),
                "natural_share": natural.get(key, np.nan),
            }
        )
    if not rows:
        return VALIDATION.empty()
    table = pd.DataFrame(rows).merge(features[[*FEATURE, "effect_mean", "effect_median"]], on=FEATURE, how="left")
    table.insert(0, "group", exact["group"].iloc[0])
    order = np.argsort(-table["effect_mean"].abs().to_numpy(), kind="stable")
    return VALIDATION.frame(judge(table.iloc[order]))


def effect_numbers(effects: NDArray[np.float64], gap: float, smallest: float) -> dict[str, float]:
    """What the verdict needs of one feature's exact effects, one for each pair."""
    low, high = (float(end[0]) for end in median_interval(effects[None]))
    median = float(np.median(effects))
    return {
        "exact_mean": float(effects.mean()),
        "exact_median": median,
        "exact_low": low,
        "exact_high": high,
        "n_pairs": len(effects),
        "gap": gap,
        "share": abs(median / gap) if gap else np.nan,
        "smallest": smallest,
        "p_value": float(sign_test(effects[None])[0]),
    }


def control_numbers(mine: NDArray[np.float64], others: NDArray[np.float64]) -> dict[str, float]:
    """Where |median exact effect| stands among those of the controls, [controls, pairs]."""
    sizes = np.abs(np.median(others, axis=1)) if len(others) else np.array([])
    return {
        "control_median": float(np.median(sizes)) if len(sizes) else np.nan,
        "control_high": float(np.quantile(sizes, 0.95)) if len(sizes) else np.nan,
        "n_controls": len(sizes),
        "n_as_strong": int((sizes >= abs(np.median(mine))).sum()),
    }


def natural_shares(ranking: pd.DataFrame) -> dict[Any, float]:
    """For every feature patched by itself on the ranking pairs, the share of the other ones that do as much."""
    sizes = ranking.groupby(FEATURE)["exact"].median().abs()
    shares = {}
    for _, own in sizes.groupby(level=["layer", "kind"]):
        values = own.to_numpy()
        for key, size in own.items():
            shares[key] = float(((values >= size).sum() - 1) / max(1, len(values) - 1))
    return shares


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` with q_value (over all its rows) and verdict; see ``verdict`` for what the verdicts mean.

    It may hold one group or several: q-values answer for all that is tested together.
    """
    judged = table.assign(q_value=benjamini_hochberg(table["p_value"].to_numpy(dtype=float)))
    return judged.assign(verdict=[verdict(row) for row in judged.to_dict("records")])


def verdict(row: Mapping[Any, Any]) -> Verdict:
    """The verdict on one feature: the first of these that holds.

    - ``too few pairs``: fewer than six distinct pairs test it, so it has no interval;
    - ``not shown``: the 95 % interval of its median exact effect holds 0, or q over all that the study tests is above
      0.05;
    - ``small``: the median is under the smallest share of interest of the clean-corrupted gap;
    - ``too few controls``: with fewer than 19 no rank among them is rarer than 1 in 20;
    - ``within controls``: more than 1 in 20 of it and its controls, which move x as far at the same tokens in other
      directions, do as much: it is the length of the move that counts, and not the feature;
    - ``opposite sign``: all that ``causal`` needs, but its attribution has the other sign;
    - ``causal``.
    """
    if row["n_pairs"] < FEWEST_PAIRS:
        return "too few pairs"
    if row["exact_low"] <= 0 <= row["exact_high"] or row["q_value"] > ALPHA:
        return "not shown"
    # A comparison with NaN (no gap is known) is false.
    if row["share"] < row["smallest"]:
        return "small"
    if 1 / (1 + row["n_controls"]) > ALPHA:
        return "too few controls"
    if (1 + row["n_as_strong"]) / (1 + row["n_controls"]) > ALPHA:
        return "within controls"
    return "opposite sign" if row["exact_median"] * row["effect_median"] < 0 else "causal"
