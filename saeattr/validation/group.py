"""Test a group's top features on pairs that did not rank them: exact effects against controls of equal length."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from saeattr.attribution.group import attribute_group
from saeattr.behaviours.pair import Pair
from saeattr.progress import counting
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, metric_gap, pair_ids_of
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import stream_saes
from saeattr.settings import Positions
from saeattr.sites import Site
from saeattr.tables import AGREEMENT, COMPARED, CURVES, EXACT, VALIDATION, by_site, features_of, sites_of
from saeattr.validation.agreement import compared_effects, single_estimates, site_agreement
from saeattr.validation.controls import CONTROLS
from saeattr.validation.curves import Course, cumulative_curves, feature_orders
from saeattr.validation.evidence import Estimates, Fold, make_folds, power_note, some_pairs
from saeattr.validation.parts import Parts
from saeattr.validation.ranking import Ranking, Wanted, measure_ranking
from saeattr.validation.site import SiteTest, strongest_at, strongest_entries
from saeattr.validation.verdicts import validation_table


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
class ValidationTables:
    """What validating one group gave.

    Attributes:
        validation: one row for each tested feature (``validation_table``).
        curves: cumulative curves (``cumulative_curves``); all positions of a feature, whatever was tested.
        compared: attribution beside exact effect for everything patched by itself (``compared_effects``).
        agreement: their correlation, site by site (``site_agreement``).
        exact: the exact effects pair by pair (``tables.EXACT``).
        power: what the tests could show, said before they were made; blank where nothing was tested.
    """

    validation: pd.DataFrame
    curves: pd.DataFrame
    compared: pd.DataFrame
    agreement: pd.DataFrame
    exact: pd.DataFrame
    power: str = ""


def validate_features(
    task: Task,
    estimates: Estimates,
    wanted: ValidationPlan,
    fresh: Sequence[Pair] | None = None,
    parts: Parts | None = None,
) -> ValidationTables:
    """Measure exact effects of the group's top features and their controls, and of many features together.

    1. Folds: features ranked by some pairs, and other pairs to test them (``make_folds``).
    2. On the pairs that ranked: activity, controls, exact effects of the features and of a random sample of each site
       (``measure_ranking``); what the tests to come can show is said (``power_note``).
    3. On the pairs that test: exact effects of each feature along its own and its controls' directions.
    4. Verdicts (``validation_table``), agreement with the attributions (``site_agreement``).
    5. Cumulative curves over growing sets of features, on the pairs that test (``cumulative_curves``).

    Memory holds the captured runs of one kind of pairs, the edited copies and one SAE (in the curves, those of one
    layer).

    Args:
        task: its pairs are those the attribution used; the method has no part in it.
        fresh: distinct pairs of the group that are none of them; None where halves of the pairs test each other.
    """
    parts = parts or Parts()
    folds = [fold for fold in make_folds(task.pairs, estimates, fresh) if fold.pairs]
    if not folds:
        return _untested(task, estimates, wanted, parts)
    most, seed = wanted.most_pairs, task.pace.seed
    folds = [dataclasses.replace(fold, pairs=some_pairs(fold.pairs, most, seed)) for fold in folds]
    features = estimates.features
    if len(task.pairs) > 2 * most:
        # The estimates that are compared with exact effects are of the pairs that these are measured in.
        task = dataclasses.replace(task, pairs=some_pairs(task.pairs, 2 * most, seed))
        features = estimates.ranked_by(task.pairs)
    folds = _at_sites(folds, {file.site for file in task.saes})
    tested = _first(folds, wanted.top)
    if not tested:
        return _nothing()
    folds = _at_sites(folds, set(tested))
    task = dataclasses.replace(task, saes=sorted((f for f in task.saes if f.site in tested), key=lambda f: f.site))
    entries, features = _where_patched(estimates, features, wanted, task)
    together = _first(folds, wanted.longest_curve)
    ranking = measure_ranking(task, Wanted(tested, together, wanted.n_controls), entries, parts)
    power = power_note(folds, wanted.top, ranking.gap, wanted.smallest)
    task.on_step(power, 1, 1)
    exact, gaps, courses = [ranking.exact], {}, []
    for fold in folds:
        batches = run_pairs(dataclasses.replace(task, pairs=fold.pairs), [file.site for file in task.saes])
        gaps |= dict(zip(pair_ids_of(batches), metric_gap(batches).cpu().double().tolist(), strict=True))
        exact += _test(fold, batches, ranking, task, wanted, parts)
        if wanted.longest_curve:
            orders = feature_orders(fold.ranked, ranking, wanted.longest_curve, task.pace.seed)
            courses.append(Course(batches, orders))
    rows = pd.concat(exact, ignore_index=True)
    table = validation_table(rows, features, gaps, wanted.smallest)
    compared = compared_effects(rows, features, table, task.times)
    on_curve = counting(task.on_step, "cumulative curves")
    curves = CURVES.empty()
    if courses:
        curves = cumulative_curves(courses, task.saes, ranking.stand_ins, task.pace, on_curve)
    return ValidationTables(table, curves, compared, site_agreement(compared), rows, power)


def _untested(task: Task, estimates: Estimates, wanted: ValidationPlan, parts: Parts) -> ValidationTables:
    """No pair is left to test on: exact effects in the pairs that ranked, beside the estimates, and no verdict."""
    every = Fold(estimates.features.sort_values("rank", kind="stable"), task.pairs)
    measured = _first(_at_sites([every], {file.site for file in task.saes}), wanted.top)
    if not measured:
        return _nothing()
    task = dataclasses.replace(task, saes=sorted((f for f in task.saes if f.site in measured), key=lambda f: f.site))
    entries, features = _where_patched(estimates, estimates.features, wanted, task)
    exact = measure_ranking(task, Wanted(measured, {}, 0), entries, parts).exact
    compared = compared_effects(exact, features, VALIDATION.empty(), task.times)
    return ValidationTables(VALIDATION.empty(), CURVES.empty(), compared, site_agreement(compared), exact)


def _where_patched(
    estimates: Estimates, features: pd.DataFrame, wanted: ValidationPlan, task: Task
) -> tuple[pd.DataFrame | None, pd.DataFrame]:
    """The entry at which each feature is patched in a pair (None: all of them), and the features' estimates there."""
    if wanted.positions == "all":
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


def _test(
    fold: Fold, batches: Sequence[BatchRuns], ranking: Ranking, task: Task, wanted: ValidationPlan, parts: Parts
) -> list[pd.DataFrame]:
    """Exact effects of a fold's top features in its pairs, along their own and their controls' directions."""
    tested = by_site(features_of(fold.ranked.head(wanted.top)))
    files = [file for file in task.saes if file.site in tested]
    entries = None
    if wanted.positions == "single":
        # Where a feature is patched in a pair is for the pair's own attribution to say.
        own = dataclasses.replace(task, pairs=fold.pairs, saes=files)
        entries = strongest_entries(attribute_group(own).attributions)
    measured: list[pd.DataFrame] = []
    total = sum(map(len, tested.values()))
    for sae in stream_saes(files, task.lm.device):
        strongest = None if entries is None else strongest_at(entries, sae.site)
        measure = SiteTest(SiteBase.of(sae, batches), batches, "test", task.pace.copies, strongest)
        for feature in tested[sae.site]:
            task.on_step("exact effects", len(measured), total)
            directions = [feature, *ranking.controls[sae.site, feature]]
            measured.append(parts.along(measure, feature, directions))
    task.on_step("exact effects", total, total)
    return measured


def _nothing() -> ValidationTables:
    """The tables of a group in which no feature is active at any of the sites."""
    return ValidationTables(VALIDATION.empty(), CURVES.empty(), COMPARED.empty(), AGREEMENT.empty(), EXACT.empty())
