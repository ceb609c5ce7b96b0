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

import numpy as np
import pandas as pd
import torch

from saeattr.model.loading import LanguageModel
from saeattr.runs.base import Base
from saeattr.runs.batch import BatchRuns
from saeattr.runs.metric import Metric
from saeattr.saes.loading import SaeFile
from saeattr.sites import Site
from saeattr.stats import bootstrap_interval, ratio_interval
from saeattr.validation.controls import SiteProfile
from saeattr.validation.joint import FeatureSet, OnLayer, joint_effects

#: A feature by its site and index.
Feature = tuple[Site, int]
#: Names of the two curves of one point each: every feature of the sites patched, without and with the error terms.
ALL, ALL_AND_ERROR = "all features", "all features and error terms"

CURVE_COLUMNS = ["group", "order", "n_features", "effect_mean", "effect_low", "effect_high"]
CURVE_COLUMNS += ["removed", "removed_low", "removed_high", "faithfulness", "faithfulness_low", "faithfulness_high"]
CURVE_COLUMNS += ["completeness", "completeness_low", "completeness_high"]


def cumulative_curves(
    lm: LanguageModel,
    batches: Sequence[BatchRuns],
    files: Sequence[SaeFile],
    orders: Mapping[str, Sequence[Sequence[Feature]]],
    metric: Metric,
    base: Base,
    batch_size: int,
    seed: int = 0,
    on_layer: OnLayer = lambda done, total: None,
) -> pd.DataFrame:
    """The curves of several orders of features, at all sites of ``files`` together (see ``joint_effects``).

    Args:
        orders: by name, one order of features or several (random ones), whose effects are averaged pair by pair.
            Features must be at sites of ``files``.
        seed: of the bootstrap.

    Returns:
        ``CURVE_COLUMNS``. effect: change of the metric when the first ``n_features`` are patched. removed: the share of
        the gap between clean and corrupted metric that this removes. Two rows more tell what patching all features of
        the sites does, without and with the error terms (``n_features``: how many the SAEs have).
    """
    sizes = {name: _sizes(min(map(len, draws))) for name, draws in orders.items()}
    sets = [FeatureSet(keep=True), FeatureSet(keep=True, errors=True)]
    for name, draws in orders.items():
        for size in sizes[name]:
            for order in draws:
                chosen = features_by_site(order[:size])
                sets += [FeatureSet(chosen), FeatureSet(chosen, keep=True)]
    effects = joint_effects(lm, batches, files, sets, metric, base, batch_size, on_layer).cpu().double().numpy()
    gap = torch.cat([_metric(batch.corrupted.metric) - _metric(batch.clean.metric) for batch in batches])
    everything, following = effects[0], 2
    lists = (gap.cpu().double().numpy(), everything)
    n_all = sum(file.d_sae for file in files)
    rows = [
        _row(ALL, n_all, everything, -everything, *pairs, seed),
        _row(ALL_AND_ERROR, n_all, effects[1], None, *pairs, seed),
    ]
    for name, draws in orders.items():
        for size in sizes[name]:
            both = effects[following : following + 2 * len(draws)].reshape(len(draws), 2, -1).mean(axis=0)
            following += 2 * len(draws)
            rows.append(_row(name, size, both[0], both[1] - everything, *pairs, seed))
    table = pd.DataFrame(rows)
    table.insert(0, "group", batches[0].pairs[0].group)
    return table[CURVE_COLUMNS]


def features_for_half(curves: pd.DataFrame) -> pd.DataFrame:
    """How many features remove half of the clean-corrupted gap, by group and order.

    Returns:
        group, order, n_features: the smallest number tried whose ``removed`` is at least 0.5; NaN where none is.
    """
    own = curves[~curves["order"].isin([ALL, ALL_AND_ERROR])]
    enough = own[own["removed"] >= 0.5].groupby(["group", "order"])["n_features"].min()
    return enough.reindex(own.groupby(["group", "order"]).size().index).reset_index()


def _row(
    name: str,
    size: int,
    patched: np.ndarray,
    kept: np.ndarray | None,
    gap: np.ndarray,
    everything: np.ndarray,
    seed: int,
) -> dict[str, float | int | str]:
    """``patched``: effect of patching the set; ``kept``: m(C) - m(0); all by list."""
    low, high = bootstrap_interval(patched[None], seed)
    row: dict[str, float | int | str] = {"order": name, "n_features": size}
    row |= {"effect_mean": patched.mean(), "effect_low": low[0], "effect_high": high[0]}
    nothing = np.full(3, np.nan)
    # m(M) - m(0) is minus the effect of patching everything; m(M \ C) - m(0) is what patching C leaves of it.
    shares = {
        "removed": ratio_interval(patched, gap, seed),
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


def features_by_site(features: Sequence[Feature]) -> dict[Site, list[int]]:
    """The features of each site, in their order."""
    found: dict[Site, list[int]] = {}
    for site, feature in features:
        found.setdefault(site, []).append(feature)
    return found


def _metric(values: torch.Tensor | None) -> torch.Tensor:
    assert values is not None
    return values


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
    involved = [key for key in feature_keys(features) if key[0] in profiles]
    by_exact = tested.iloc[np.argsort(-tested["exact_mean"].abs().to_numpy(), kind="stable")]
    active = [(site, int(feature)) for site in sorted(profiles) for feature in np.flatnonzero(profiles[site].frequency)]
    sizes = np.array([profiles[site].activation_norm[feature] for site, feature in active])
    rng = np.random.default_rng(seed)
    return {
        "attribution": [involved[:longest]],
        "exact": [feature_keys(by_exact)[:longest]],
        "activation": [[active[at] for at in np.argsort(-sizes, kind="stable")[:longest]]],
        "random": [[active[at] for at in rng.permutation(len(active))[:longest]] for _ in range(RANDOM_ORDERS)],
    }


def feature_sites(table: pd.DataFrame) -> list[Site]:
    """The site of each row of a table with the columns layer and kind."""
    return [Site(kind, int(layer)) for kind, layer in zip(table["kind"], table["layer"], strict=True)]


def feature_keys(table: pd.DataFrame) -> list[Feature]:
    """(site, feature) of each row of a table with the columns layer, kind and feature."""
    return [(site, int(feature)) for site, feature in zip(feature_sites(table), table["feature"], strict=True)]
