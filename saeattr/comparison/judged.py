"""From exact effects in two models, pair by pair, to one row a feature with a verdict on its change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from saeattr.stats import benjamini_hochberg
from saeattr.tables import CHANGE_TESTS, FEATURE
from saeattr.validation.verdicts import control_numbers, effect_numbers, verdict

#: What a verdict on an effect is called where the effect is a change of one.
CHANGED = {"causal": "changed", "opposite sign": "changed"}
EFFECTS = ("exact_a", "exact_b", "exact_moved")


def change_tests(
    exact: pd.DataFrame, estimates: Mapping[Any, float], gaps: Mapping[str, float], smallest: float
) -> pd.DataFrame:
    """One row for each tested feature of one group, the largest estimated |change| first.

    A control's change is read as the feature's own is: x moved as far in each model as the feature's patch moves it
    there, along another feature's direction. What every direction at the site shares is ``within controls``.

    Args:
        exact: ``tables.CHANGE_EXACT``.
        estimates: by layer, kind and feature, the change_mean that ranked it.
        gaps: by pair_id, corrupted minus clean metric in A.
        smallest: the smallest share of the gap of interest.

    Returns:
        ``tables.CHANGE_TESTS``; q-values and verdicts over its rows (``judge_changes`` gives them over more).
    """
    rows = []
    for key, own in exact.groupby(FEATURE, sort=False):
        feature = int(own["feature"].iloc[0])
        parts = {name: own.pivot(index="along", columns="pair_id", values=name) for name in EFFECTS}
        change = parts["exact_b"] - parts["exact_a"]
        activation = parts["exact_b"] - parts["exact_moved"]
        mine, others = change.loc[feature].to_numpy(float), change.drop(index=feature).to_numpy(float)
        gap = float(np.median([gaps[pair_id] for pair_id in change.columns]))
        numbers = effect_numbers(mine, gap, smallest)
        controls = activation.drop(index=feature).median(axis=1).abs()
        rows.append(
            {
                **dict(zip(FEATURE, key, strict=True)),
                "group": own["group"].iloc[0],
                "estimate_mean": float(estimates[key]),
                "exact_a": float(parts["exact_a"].loc[feature].median()),
                "exact_b": float(parts["exact_b"].loc[feature].median()),
                **{name.replace("exact_", "change_"): value for name, value in numbers.items()},
                "activation_part": float(activation.loc[feature].median()),
                "path_part": float((change - activation).loc[feature].median()),
                "control_activation": float(controls.max()) if len(controls) else np.nan,
                **control_numbers(mine, others),
            }
        )
    if not rows:
        return CHANGE_TESTS.empty()
    table = pd.DataFrame(rows)
    return judge_changes(table.iloc[np.argsort(-table["estimate_mean"].abs().to_numpy(), kind="stable")])


def judge_changes(table: pd.DataFrame) -> pd.DataFrame:
    """``tables.CHANGE_TESTS`` with q-values and verdicts over all its rows, of one group or of several.

    Verdicts are those of ``saeattr.validation.verdicts.verdict`` on the change in place of an effect: the interval of
    its median leaves out 0, q is at most 0.05, it is not small, and at most 1 in 20 of the feature and its controls
    change as much.
    """
    judged = table.assign(q_value=benjamini_hochberg(table["p_value"].to_numpy(dtype=float)))
    verdicts = []
    for row in judged.to_dict("records"):
        of_change = {f"exact_{name}": row[f"change_{name}"] for name in ("median", "low", "high")}
        said = verdict({**row, **of_change, "effect_median": row["estimate_mean"]})
        verdicts.append(CHANGED.get(said, said))
    return CHANGE_TESTS.frame(judged.assign(verdict=verdicts))
