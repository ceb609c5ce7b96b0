"""How well attributions predict exact effects, both on the pairs that ranked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from saeattr.sites import Site
from saeattr.tables import AGREEMENT, COMPARED, FEATURE, GROUP_FEATURE, GROUP_SITE, SITE, features_of

#: A site whose attributions correlate less than this with the exact effects is warned of.
POOR_CORRELATION = 0.8
#: No correlation is stated for fewer features.
FEWEST_FEATURES = 3
#: An effect below this part of a site's largest is rounding: it has no sign and no rank.
NO_EFFECT = 1e-4


def compared_effects(
    exact: pd.DataFrame, features: pd.DataFrame, tested: pd.DataFrame, times: Mapping[str, int]
) -> pd.DataFrame:
    """Attribution beside exact effect, both as means over the pairs that ranked, for every feature patched by itself.

    The sampled features count too: with the tested ones alone the comparison would see the largest attributions only. A
    feature that features.parquet has no row for (it keeps the largest) is left out.

    Args:
        exact: ``tables.EXACT``.
        features: the group's features.parquet, or ``single_estimates``.
        tested: validation.parquet.
        times: by pair_id, a pair's weight in the mean.

    Returns:
        ``tables.COMPARED``.
    """
    ranking = exact[exact["evidence"] == "ranking"]
    weights = ranking["pair_id"].map(dict(times)).astype(float)
    sums = (ranking["exact"] * weights).groupby([ranking[key] for key in GROUP_FEATURE]).sum()
    means = (sums / sum(times.values())).rename("exact_mean").reset_index()
    known = set(features_of(tested))
    means["tested"] = [feature in known for feature in features_of(means)]
    return COMPARED.frame(means.merge(features[[*GROUP_FEATURE, "effect_mean"]], on=GROUP_FEATURE))


def single_estimates(entries: pd.DataFrame, features: pd.DataFrame, times: Mapping[str, int]) -> pd.DataFrame:
    """Estimates for the single position of each pair; 0 in a pair where a feature has no entry.

    Args:
        entries: layer, kind, feature, pair_id, effect: one row a feature and pair.
        features: the group's features.parquet.

    Returns:
        ``features`` with their mean and median over pairs as effect_mean and effect_median.
    """
    by_pair = entries.pivot_table(index=FEATURE, columns="pair_id", values="effect", fill_value=0.0)
    values = by_pair.reindex(columns=list(times), fill_value=0.0).to_numpy(dtype=float)
    weights = np.array(list(times.values()), dtype=float)
    found = by_pair.index.to_frame(index=False).assign(
        effect_mean=values @ (weights / weights.sum()), effect_median=np.median(values, axis=1)
    )
    return features.drop(columns=["effect_mean", "effect_median"]).merge(found, on=FEATURE)


def site_agreement(compared: pd.DataFrame) -> pd.DataFrame:
    """How well attribution predicted the exact effects, site by site.

    Args:
        compared: as ``compared_effects`` returns it.

    Returns:
        ``tables.AGREEMENT``; correlations are NaN for fewer than three features or without any spread. same_sign is
        the share of features whose two effects have the same sign, or are both none (``NO_EFFECT``); poor: pearson is
        below ``POOR_CORRELATION``.
    """
    rows = []
    for (group, layer, kind), own in compared.groupby(GROUP_SITE):
        estimate, exact = (_without_rounding(own[name]) for name in ("effect_mean", "exact_mean"))
        enough = len(own) >= FEWEST_FEATURES and np.ptp(estimate) > 0 and np.ptp(exact) > 0
        pearson = estimate.corr(exact) if enough else np.nan
        rows.append(
            {
                "group": group,
                "layer": layer,
                "kind": kind,
                "n_features": len(own),
                "pearson": pearson,
                "spearman": estimate.rank().corr(exact.rank()) if enough else np.nan,
                "same_sign": float((np.sign(estimate) == np.sign(exact)).mean()),
                "poor": bool(pearson < POOR_CORRELATION),
            }
        )
    return AGREEMENT.frame(pd.DataFrame(rows))


def _without_rounding(effects: pd.Series) -> pd.Series:
    size = effects.abs()
    return effects.where(size > NO_EFFECT * size.max(), 0.0)


def agreement_warnings(agreement: pd.DataFrame) -> list[str]:
    """The sites whose attributions are poor, one line each, of all groups together."""
    n_groups = agreement["group"].nunique()
    warnings = []
    for (layer, kind), own in agreement[agreement["poor"].astype(bool)].groupby(SITE):
        low, high = own["pearson"].min(), own["pearson"].max()
        where = own["group"].iloc[0] if len(own) == 1 else f"{len(own)} of {n_groups} groups"
        correlation = f"{low:.2f}" if len(own) == 1 else f"{low:.2f} to {high:.2f}"
        warnings.append(
            f"{where}: at {Site(kind, layer)} attribution predicts exact effects poorly (correlation over features "
            f"{correlation}): trust the exact effects there; another --method may do better"
        )
    return warnings
