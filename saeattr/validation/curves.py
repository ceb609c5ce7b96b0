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
import torch

from saeattr.progress import OnCount, quiet
from saeattr.runs.batch import BatchRuns, metric_gap
from saeattr.runs.question import Pace
from saeattr.saes.formats import SaeFile
from saeattr.stats import mean_interval, ratio_interval
from saeattr.tables import CURVES, FEATURE, Feature, by_site, features_of
from saeattr.validation.joint import FeatureSet, joint_effects
from saeattr.validation.ranking import Ranking

#: Names of the two curves of one point each: every feature of the sites patched, without and with the error terms.
ALL, ALL_AND_ERROR = "all features", "all features and error terms"
#: The attribution order with stand-ins of equal length in place of its features.
EQUAL = "controls"


@dataclass(frozen=True)
class Course:
    """Pairs to patch in, and orders of features that other pairs gave.

    Attributes:
        orders: by name, one order of features or several (random ones), whose effects are averaged pair by pair.
    """

    batches: Sequence[BatchRuns]
    orders: Mapping[str, Sequence[Sequence[Feature]]]


def cumulative_curves(
    courses: Sequence[Course],
    files: Sequence[SaeFile],
    stand_ins: Sequence[Mapping[Feature, int]],
    pace: Pace,
    on_layer: OnCount = quiet,
) -> pd.DataFrame:
    """The curves of several orders of features, at all sites of ``files`` together (see ``joint_effects``).

    Args:
        courses: the folds; their pairs are put side by side, each patched in the order of its own fold.
        stand_ins: for each set of controls, the feature that stands in for each of the attribution order; none draws
            no curve of controls.
        pace: its copies.

    Returns:
        ``tables.CURVES``. effect: change of the metric when the first ``n_features`` are patched. removed: the share of
        the gap between clean and corrupted metric that this removes. Two rows more tell what patching all features of
        the sites does, without and with the error terms (``n_features``: how many the SAEs have).
    """
    names = list(courses[0].orders)
    longest = {name: min(len(order) for course in courses for order in course.orders[name]) for name in names}
    plan = [(name, size) for name in names for size in _sizes(longest[name])]
    controls = _sizes(longest["attribution"]) if stand_ins else []
    found = [
        joint_effects(course.batches, files, _sets(course, plan, controls, stand_ins), pace.copies, on_layer)
        for course in courses
    ]
    effects = np.concatenate([one.effects.cpu().double().numpy() for one in found], axis=1)
    ratios = np.mean([one.length_ratio for one in found], axis=0)
    gap = torch.cat([metric_gap(course.batches) for course in courses]).cpu().double().numpy()
    everything, following = effects[0], 2
    n_all = sum(file.d_sae for file in files)
    rows = [
        _row(ALL, n_all, everything, -everything, _Against(gap, everything)),
        _row(ALL_AND_ERROR, n_all, effects[1], None, _Against(gap, everything)),
    ]
    for name, size in plan:
        n_draws = len(courses[0].orders[name])
        both = effects[following : following + 2 * n_draws].reshape(n_draws, 2, -1).mean(axis=0)
        following += 2 * n_draws
        rows.append(_row(name, size, both[0], both[1] - everything, _Against(gap, everything)))
    for size in controls:
        sets = slice(following, following + len(stand_ins))
        following += len(stand_ins)
        row = _row(EQUAL, size, effects[sets].mean(axis=0), None, _Against(gap, everything))
        rows.append({**row, "length_ratio": ratios[sets].mean()})
    table = pd.DataFrame(rows)
    if "length_ratio" not in table:
        table["length_ratio"] = np.nan
    table.insert(0, "group", courses[0].batches[0].pairs[0].group)
    return CURVES.frame(table)


def _sets(
    course: Course,
    plan: Sequence[tuple[str, int]],
    controls: Sequence[int],
    stand_ins: Sequence[Mapping[Feature, int]],
) -> list[FeatureSet]:
    """All features, without and with the error terms; each order's first ones, patched and kept; the controls."""
    sets = [FeatureSet(keep=True), FeatureSet(keep=True, errors=True)]
    for name, size in plan:
        for order in course.orders[name]:
            chosen = by_site(order[:size])
            sets += [FeatureSet(chosen), FeatureSet(chosen, keep=True)]
    for size in controls:
        order = course.orders["attribution"][0][:size]
        for others in stand_ins:
            stand = {site: [others[site, feature] for feature in own] for site, own in by_site(order).items()}
            sets.append(FeatureSet(by_site(order), stand_ins=stand))
    return sets


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


def _row(
    name: str, size: int, patched: np.ndarray, kept: np.ndarray | None, against: _Against
) -> dict[str, float | int | str]:
    """``patched``: effect of patching the set; ``kept``: m(C) - m(0); all by pair."""
    everything = against.everything
    low, high = mean_interval(patched[None])
    row: dict[str, float | int | str] = {"order": name, "n_features": size}
    row |= {"effect_mean": patched.mean(), "effect_low": low[0], "effect_high": high[0]}
    nothing = np.full(3, np.nan)
    # m(M) - m(0) is minus the effect of patching everything; m(M \ C) - m(0) is what patching C leaves of it.
    shares = {
        "removed": ratio_interval(patched, against.gap),
        "faithfulness": nothing if kept is None else ratio_interval(kept, -everything),
        "completeness": nothing if kept is None else ratio_interval(patched - everything, -everything),
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


def feature_orders(ranked: pd.DataFrame, ranking: Ranking, longest: int, seed: int) -> dict[str, list[list[Feature]]]:
    """The orders whose curves are compared, over the active features of the sites involved.

    attribution: by |mean attribution|. exact: the tested features by |mean exact effect|. activation: by mean
    activation times decoder norm in the clean run. random: several draws among all features that are ever active. All
    are what the pairs that ranked say.

    Args:
        ranked: a features table of these sites, the largest |mean attribution| first.
        longest: features in an order.
    """
    profiles = ranking.profiles
    means = ranking.exact.groupby(FEATURE)["exact"].mean().rename("size").abs().reset_index()
    by_exact = means.sort_values(["size", *FEATURE], ascending=[False, True, True, True])
    tested = set(ranking.controls)
    active = [(site, int(feature)) for site in sorted(profiles) for feature in profiles[site].active]
    sizes = np.array([profiles[site].activation_norm[feature] for site, feature in active])
    rng = np.random.default_rng(seed)
    return {
        "attribution": [features_of(ranked.head(longest))],
        "exact": [[key for key in features_of(by_exact) if key in tested][:longest]],
        "activation": [[active[at] for at in np.argsort(-sizes, kind="stable")[:longest]]],
        "random": [[active[at] for at in rng.permutation(len(active))[:longest]] for _ in range(RANDOM_ORDERS)],
    }
