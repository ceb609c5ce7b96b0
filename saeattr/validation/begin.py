"""What is to be measured of a group, from its pairs and estimates alone; nothing has run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from saeattr.behaviours.pair import Pair
from saeattr.runs.task import Task
from saeattr.settings import Positions
from saeattr.sites import Site
from saeattr.tables import by_site, features_of, sites_of
from saeattr.validation.agreement import single_estimates
from saeattr.validation.controls import CONTROLS
from saeattr.validation.evidence import Estimates, Fold, make_folds, some_pairs
from saeattr.validation.parts import Parts
from saeattr.validation.ranking import Wanted
from saeattr.validation.site import strongest_entries


@dataclass(frozen=True)
class ValidationPlan:
    """What to test and how.

    Attributes:
        top: features tested in a group, those of the highest ranks over all sites (in each fold).
        n_controls: control features for each of them.
        smallest: the smallest effect of interest, as a share of the clean-corrupted gap.
        positions: patch a feature at all its positions, or in each pair only where its attribution is largest.
        longest_curve: cumulative curves go to so many features, where there are so many (the exact order ends with the
            tested ones); 0 draws no curves.
        most_pairs: so many of a fold's pairs test, drawn at random, and twice as many of those that ranked are run.
    """

    top: int = 20
    n_controls: int = CONTROLS
    smallest: float = 0.01
    positions: Positions = "all"
    longest_curve: int = 128
    most_pairs: int = 100


@dataclass(frozen=True)
class GroupInput:
    """A group to be validated.

    Attributes:
        task: its pairs are those the attribution used; the method has no part in it.
        fresh: distinct pairs of the group that are none of them; None where halves of the pairs test each other.
    """

    task: Task
    estimates: Estimates
    plan: ValidationPlan
    fresh: Sequence[Pair] | None = None
    parts: Parts = field(default_factory=Parts)


@dataclass(frozen=True, eq=False)
class Begun:
    """What is measured of a group.

    Attributes:
        input: as it was given.
        task: the pairs that ranked, and the SAEs of the sites at which something is tested.
        folds: none where no pair is left to test on.
        features: the estimates that exact effects are compared with.
        entries: where a feature is patched in a pair; None for all positions.
        wanted: what is tested where.
    """

    input: GroupInput
    task: Task
    folds: Sequence[Fold]
    features: pd.DataFrame
    entries: pd.DataFrame | None
    wanted: Wanted


def begin(group: GroupInput) -> Begun | None:
    """Folds, the features that are tested, and the pairs; None where no feature is active at any of the sites."""
    task, estimates, plan = group.task, group.estimates, group.plan
    folds = [fold for fold in make_folds(task.pairs, estimates, group.fresh) if fold.pairs]
    features, most, seed = estimates.features, plan.most_pairs, task.pace.seed
    folds = [dataclasses.replace(fold, pairs=some_pairs(fold.pairs, most, seed)) for fold in folds]
    if folds and len(task.pairs) > 2 * most:
        # The estimates that are compared with exact effects are of the pairs that these are measured in.
        task = dataclasses.replace(task, pairs=some_pairs(task.pairs, 2 * most, seed))
        features = estimates.ranked_by(task.pairs)
    # Where no pair is left to test on, exact effects are measured in the pairs that ranked, and no verdict is given.
    ranking = folds or [Fold(features.sort_values("rank", kind="stable"), task.pairs)]
    ranking = _at_sites(ranking, {file.site for file in task.saes})
    tested = _first(ranking, plan.top)
    if not tested:
        return None
    ranking = _at_sites(ranking, set(tested))
    task = dataclasses.replace(task, saes=sorted((f for f in task.saes if f.site in tested), key=lambda f: f.site))
    entries, features = _where_patched(estimates, features, plan, task)
    if not folds:
        return Begun(group, task, (), features, entries, Wanted(tested, {}, 0))
    together = _first(ranking, plan.longest_curve)
    return Begun(group, task, ranking, features, entries, Wanted(tested, together, plan.n_controls))


def _where_patched(
    estimates: Estimates, features: pd.DataFrame, plan: ValidationPlan, task: Task
) -> tuple[pd.DataFrame | None, pd.DataFrame]:
    """The entry at which each feature is patched in a pair (None: all of them), and the features' estimates there."""
    if plan.positions == "all":
        return None, features
    assert estimates.attributions is not None
    entries = strongest_entries(estimates.attributions)
    return entries, single_estimates(entries, features, task.times)


def _at_sites(folds: Sequence[Fold], sites: set[Site]) -> list[Fold]:
    """The folds with the features of some sites only."""
    return [
        dataclasses.replace(fold, ranked=fold.ranked[[site in sites for site in sites_of(fold.ranked)]])
        for fold in folds
    ]


def _first(folds: Sequence[Fold], count: int) -> dict[Site, list[int]]:
    """The first features of every fold, site by site."""
    return by_site(sorted({feature for fold in folds for feature in features_of(fold.ranked.head(count))}))
