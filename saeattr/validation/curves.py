"""Cumulative curves: patch the first 1, 2, 4, ... features of an order together, and what is left without the rest.

Faithfulness and completeness as in sparse feature circuits (Marks et al., arXiv 2403.19647, section 3): for a set C of
features, with m(S) the metric when all features outside S are at their base value, M all features and 0 none,

    faithfulness(C) = (m(C) - m(0)) / (m(M) - m(0))        1: C alone does what all features do
    completeness(C) = (m(M \\ C) - m(0)) / (m(M) - m(0))    0: without C nothing is left of it

Two choices differ from that paper's: the base is the study's (there: the mean over positions), and the error terms are
kept in every run (there they are members of the circuit). So m(M) is the clean metric, and faithfulness goes from 0
(no feature kept) to 1 (all kept) whatever the SAEs miss. All are ratios of means over lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saeattr.progress import OnCount, quiet
from saeattr.runs.batch import BatchRuns, metric_gap
from saeattr.runs.question import Pace
from saeattr.saes.formats import SaeFile
from saeattr.sites import Site
from saeattr.stats import bootstrap_interval, ratio_interval
from saeattr.tables import CURVES, Feature, by_site, features_of
from saeattr.validation.controls import SiteProfile
from saeattr.validation.joint import FeatureSet, joint_effects

#: Names of the two curves of one point each: every feature of the sites patched, without and with the error terms.
ALL, ALL_AND_ERROR = "all features", "all features and error terms"


def cumulative_curves(
    batches: Sequence[BatchRuns],
    files: Sequence[SaeFile],
    orders: Mapping[str, Sequence[Sequence[Feature]]],
    pace: Pace,
    on_layer: OnCount = quiet,
) -> pd.DataFrame:
    """The curves of several orders of features, at all sites of ``files`` together (see ``joint_effects``).

    Args:
        orders: by name, one order of features or several (random ones), whose effects are averaged pair by pair.
            Features must be at sites of ``files``.
        pace: its copies and seed.

    Returns:
        ``tables.CURVES``. effect: change of the metric when the first ``n_features`` are patched. removed: the share of
        the gap between clean and corrupted metric that this removes. Two rows more tell what patching all features of
        the sites does, without and with the error terms (``n_features``: how many the SAEs have).
    """
    sizes = {name: _sizes(min(map(len, draws))) for name, draws in orders.items()}
    sets = [FeatureSet(keep=True), FeatureSet(keep=True, errors=True)]
    for name, draws in orders.items():
        for size in sizes[name]:
            for order in draws:
                chosen = by_site(order[:size])
                sets += [FeatureSet(chosen), FeatureSet(chosen, keep=True)]
    effects = joint_effects(batches, files, sets, pace.copies, on_layer).cpu().double().numpy()
    everything, following = effects[0], 2
    against = _Against(metric_gap(batches).cpu().double().numpy(), everything, pace.seed)
    n_all = sum(file.d_sae for file in files)
    rows = [
        _row(ALL, n_all, everything, -everything, against),
        _row(ALL_AND_ERROR, n_all, effects[1], None, against),
    ]
    for name, draws in orders.items():
        for size in sizes[name]:
            both = effects[following : following + 2 * len(draws)].reshape(len(draws), 2, -1).mean(axis=0)
            following += 2 * len(draws)
            rows.append(_row(name, size, both[0], both[1] - everything, against))
    table = pd.DataFrame(rows)
    table.insert(0, "group", batches[0].pairs[0].group)
    return CURVES.frame(table)


def features_for_half(curves: pd.DataFrame) -> pd.DataFrame:
    """How many features remove half of the clean-corrupted gap, by group and order.

    Returns:
        group, order, n_features: the smallest number tried whose ``removed`` is at least 0.5; NaN where none is.
    """
    own = curves[~curves["order"].isin([ALL, ALL_AND_ERROR])]
    enough = own[own["removed"] >= 0.5].groupby(["group", "order"])["n_features"].min()
    return enough.reindex(own.groupby(["group", "order"]).size().index).reset_index()


@dataclass(frozen=True)
class _Against:
    """What the shares are shares of, by pair: the clean-corrupted gap, and the effect of patching everything."""

    gap: np.ndarray
    everything: np.ndarray
    seed: int


def _row(
    name: str, size: int, patched: np.ndarray, kept: np.ndarray | None, against: _Against
) -> dict[str, float | int | str]:
    """``patched``: effect of patching the set; ``kept``: m(C) - m(0); all by pair."""
    everything, seed = against.everything, against.seed
    low, high = bootstrap_interval(patched[None], seed)
    row: dict[str, float | int | str] = {"order": name, "n_features": size}
    row |= {"effect_mean": patched.mean(), "effect_low": low[0], "effect_high": high[0]}
    nothing = np.full(3, np.nan)
    # m(M) - m(0) is minus the effect of patching everything; m(M \ C) - m(0) is what patching C leaves of it.
    shares = {
        "removed": ratio_interval(patched, against.gap, seed),
        "faithfulness": nothing if kept is None else ratio_interval(kept, -everything, seed),
        "completeness": nothing if kept is None else ratio_interval(patched - everything, -everything, seed),
    }
    for label, (value, lowest, highest) in shares.items():
        row |= {label: value, f"{label}_low": lowest, f"{label}_high": highest}
    return row


def _sizes(longest: int) -> list[int]:
    """1, 2, 4, ... and the whole order."""
    sizes = [2**power for power in range(longest.bit_length()) if 2**power <= longest]
    return sizes if not sizes or sizes[-1] == longest else [*sizes, longest]


#: Random orders that the random curve is the mean of.
RANDOM_ORDERS = 2


def feature_orders(
    features: pd.DataFrame, tested: pd.DataFrame, profiles: Mapping[Site, SiteProfile], longest: int, seed: int
) -> dict[str, list[list[Feature]]]:
    """The orders whose curves are compared, over the active features of the sites involved.

    attribution: by |mean attribution|. exact: the tested features by |mean exact effect|. activation: by mean
    activation times decoder norm in the clean run. random: several draws among all features that are ever active.

    Args:
        features: the group's features.parquet, the largest |mean attribution| first.
        tested: validation.parquet.
        profiles: of the sites involved.
        longest: features in an order.
    """
    involved = [key for key in features_of(features) if key[0] in profiles]
    by_exact = tested.iloc[np.argsort(-tested["exact_mean"].abs().to_numpy(), kind="stable")]
    active = [(site, int(feature)) for site in sorted(profiles) for feature in np.flatnonzero(profiles[site].frequency)]
    sizes = np.array([profiles[site].activation_norm[feature] for site, feature in active])
    rng = np.random.default_rng(seed)
    return {
        "attribution": [involved[:longest]],
        "exact": [features_of(by_exact)[:longest]],
        "activation": [[active[at] for at in np.argsort(-sizes, kind="stable")[:longest]]],
        "random": [[active[at] for at in rng.permutation(len(active))[:longest]] for _ in range(RANDOM_ORDERS)],
    }
