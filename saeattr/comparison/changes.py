"""How each feature's estimated effect differs between two models, pair by pair, and through what.

An estimated effect is (act_base - act_clean) * grad, summed over positions. Between models A and B it can differ
because the feature's activations do, or because the slope of the metric along its direction does: the layers above.
With d = act_base - act_clean,

    d_B grad_B - d_A grad_A = (d_B - d_A) (grad_A + grad_B) / 2  +  (grad_B - grad_A) (d_A + d_B) / 2
                              through activations                   through the slope

which is exact, and changes its sign with the order of the models. Where a feature has an entry in one model only, its
slope in the other is not known, and all of the difference counts as through activations. Below the first layer whose
weights differ, activations are equal, so the first part is 0 there; the slope differs, because every path from there
to the metric leads through the layers that changed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from saeattr.stats import benjamini_hochberg, median_interval, sign_test
from saeattr.tables import CHANGES, FEATURE, SITE, SITE_CHANGES

KEYS = ["pair_id", *FEATURE, "position"]
#: Columns of attributions.parquet that are needed.
READ = ["group", *KEYS, "act_clean", "act_base", "grad", "effect"]
#: A feature is compared if it has an effect in either model in at least this share of the pairs: in fewer, the median
#: difference is 0 whatever the others say. It depends on no difference's sign, so it favours none.
PRESENT = 0.5


def entry_changes(a: pd.DataFrame, b: pd.DataFrame, other: Mapping[str, str]) -> pd.DataFrame:
    """One row for each feature and position that has an entry in either model.

    Args:
        a, b: attributions of one group.
        other: by pair_id in A, the pair_id in B; other pairs are left out.

    Returns:
        ``KEYS`` with the ids of A; act_clean_a, act_clean_b, effect_a, effect_b, activation_part and slope_part.
    """
    back = {theirs: ours for ours, theirs in other.items()}
    one = a[a["pair_id"].isin(list(other))]
    two = b[b["pair_id"].isin(list(back))].assign(pair_id=lambda rows: rows["pair_id"].map(back))
    both = one.merge(two, on=KEYS, how="outer", suffixes=("_a", "_b"), sort=True)
    d_a, d_b = (
        (both[f"act_base_{side}"].astype(float) - both[f"act_clean_{side}"].astype(float)).fillna(0.0)
        for side in ("a", "b")
    )
    s_a, s_b = (both[f"grad_{side}"].astype(float) for side in ("a", "b"))
    s_a, s_b = s_a.fillna(s_b), s_b.fillna(s_a)
    activations = both[["act_clean_a", "act_clean_b"]].astype(float).fillna(0.0)
    return both[KEYS].assign(
        act_clean_a=activations["act_clean_a"],
        act_clean_b=activations["act_clean_b"],
        effect_a=d_a * s_a,
        effect_b=d_b * s_b,
        activation_part=(d_b - d_a) * (s_a + s_b) / 2,
        slope_part=(s_b - s_a) * (d_a + d_b) / 2,
    )


def feature_changes(group: str, entries: pd.DataFrame, times: Mapping[str, int]) -> pd.DataFrame:
    """One row for each compared feature of one group, the largest |change_mean| first.

    Args:
        entries: ``entry_changes``.
        times: by pair_id of the pairs in common, how often each was drawn: its weight in means. In medians and tests
            it counts once.

    Returns:
        ``tables.CHANGES``; q-values over its rows (``with_q_values`` takes them over more).
    """
    parts = ["effect_a", "effect_b", "activation_part", "slope_part"]
    sums = entries.groupby([*FEATURE, "pair_id"])[parts].sum()
    by_pair = {
        part: sums[part].unstack("pair_id").reindex(columns=list(times)).fillna(0.0).sort_index() for part in parts
    }
    present = ((by_pair["effect_a"] != 0) | (by_pair["effect_b"] != 0)).sum(axis=1)
    kept = present >= max(1, PRESENT * len(times))
    if not kept.any():
        return CHANGES.empty()
    values = {part: table[kept].to_numpy() for part, table in by_pair.items()}
    weights = np.array(list(times.values()), dtype=np.float64)
    weights /= weights.sum()
    change = values["effect_b"] - values["effect_a"]
    low, high = median_interval(change)
    table = present[kept].rename("n_active").reset_index()
    table = table.assign(
        group=group,
        effect_a=np.median(values["effect_a"], axis=1),
        effect_b=np.median(values["effect_b"], axis=1),
        change_mean=change @ weights,
        change_median=np.median(change, axis=1),
        change_low=low,
        change_high=high,
        activation_part=values["activation_part"] @ weights,
        slope_part=values["slope_part"] @ weights,
        n_pairs=change.shape[1],
        p_value=sign_test(change),
    )
    order = np.lexsort((table["feature"], table["kind"], table["layer"], -table["change_mean"].abs()))
    return with_q_values(table.iloc[order])


def with_q_values(table: pd.DataFrame) -> pd.DataFrame:
    """``tables.CHANGES`` with q-values over all its rows, of one group or of several."""
    return CHANGES.frame(table.assign(q_value=benjamini_hochberg(table["p_value"].to_numpy(dtype=float))))


def site_changes(group: str, entries: pd.DataFrame, changes: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """One row for each site of one group, in the model's order: how far its activations and its effects changed.

    Args:
        changes: the group's rows of ``tables.CHANGES``, with the q-values of all groups.

    Returns:
        ``tables.SITE_CHANGES``; what only the models can say (``taken_back``) is blank.
    """
    squares = entries.assign(
        moved=(entries["act_clean_b"] - entries["act_clean_a"]) ** 2,
        size=entries["act_clean_a"] ** 2,
    )
    sums = squares.groupby(SITE)[["moved", "size"]].sum()
    sizes = changes.assign(
        activation_part=changes["activation_part"].abs(),
        slope_part=changes["slope_part"].abs(),
        changed=changes["q_value"] <= alpha,
    )
    own = sizes.groupby(SITE).agg(
        n_features=("feature", "size"),
        n_changed=("changed", "sum"),
        activation_part=("activation_part", "sum"),
        slope_part=("slope_part", "sum"),
    )
    table = sums.join(own).fillna(0.0).reset_index()
    table = table.assign(
        group=group,
        activation_change=np.sqrt(table["moved"]) / np.sqrt(table["size"]).where(table["size"] > 0),
        taken_back=np.nan,
        taken_back_low=np.nan,
        taken_back_high=np.nan,
    )
    return SITE_CHANGES.frame(table)
