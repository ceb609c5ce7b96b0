"""Test groups' top features on pairs that did not rank them: exact effects against controls of equal length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from saeattr.behaviours.pair import Pair
from saeattr.progress import counting
from saeattr.runs.batch import metric_gap, pair_ids_of
from saeattr.runs.kept import RunStore, on_device
from saeattr.runs.task import Task
from saeattr.tables import AGREEMENT, COMPARED, CURVES, EXACT, VALIDATION
from saeattr.validation.agreement import compared_effects, site_agreement
from saeattr.validation.begin import GroupInput, ValidationPlan, begin
from saeattr.validation.curves import Course, cumulative_curves, feature_orders
from saeattr.validation.evidence import Estimates, power_note
from saeattr.validation.parts import Parts
from saeattr.validation.ranking import RankedPairs, measure_rankings
from saeattr.validation.testing import GroupTest, measure_tests
from saeattr.validation.verdicts import validation_table


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
    plan: ValidationPlan,
    fresh: Sequence[Pair] | None = None,
    parts: Parts | None = None,
) -> ValidationTables:
    """``validate_groups`` for one group, its runs in memory."""
    return next(validate_groups([GroupInput(task, estimates, plan, fresh, parts or Parts())], RunStore()))


def validate_groups(groups: Sequence[GroupInput], store: RunStore) -> Iterator[ValidationTables]:
    """Measure exact effects of groups' top features and their controls, and of many features together.

    1. Folds: features ranked by some pairs, and other pairs to test them (``begin``).
    2. On the pairs that ranked: activity, controls, exact effects of the features and of a random sample of each site
       (``measure_rankings``); what the tests to come can show is said (``power_note``).
    3. On the pairs that test: exact effects of each feature along its own and its controls' directions
       (``measure_tests``).
    4. Verdicts (``validation_table``), agreement with the attributions (``site_agreement``).
    5. Cumulative curves over growing sets of features, on the pairs that test (``cumulative_curves``).

    Steps 2 and 3 open every SAE once for all groups; the curves are drawn group by group, from the group's own SAEs.
    Memory holds the captured runs of one kind of pairs (as ``store`` keeps them), the edited copies and one SAE (in the
    curves, those of one layer).

    Returns:
        one after the other, in the order of ``groups``.
    """
    begun = [begin(group) for group in groups]
    ranked = [RankedPairs(one.task, one.wanted, one.entries, one.input.parts) for one in begun if one is not None]
    rankings = iter(measure_rankings(ranked, store))
    store.clear()
    tests = [None if one is None else GroupTest(one, next(rankings)) for one in begun]
    powers = [_power(test) for test in tests]
    measure_tests([test for test in tests if test is not None and test.begun.folds], store)
    for test, power in zip(tests, powers, strict=True):
        if test is None:
            # No feature is active at any of the sites.
            nothing = (CURVES.empty(), COMPARED.empty(), AGREEMENT.empty(), EXACT.empty())
            yield ValidationTables(VALIDATION.empty(), *nothing)
        else:
            yield _tables(test, power) if test.begun.folds else _untested(test)


def _power(test: GroupTest | None) -> str:
    """What a group's tests can show, said before they are made; blank where nothing is tested."""
    if test is None or not test.begun.folds:
        return ""
    plan = test.begun.input.plan
    power = power_note(test.begun.folds, plan.top, test.ranking.gap, plan.smallest)
    test.begun.task.on_step(power, 1, 1)
    return power


def _untested(test: GroupTest) -> ValidationTables:
    """No pair is left to test on: exact effects in the pairs that ranked, beside the estimates, and no verdict."""
    begun, exact = test.begun, test.ranking.exact
    compared = compared_effects(exact, begun.features, VALIDATION.empty(), begun.task.times)
    return ValidationTables(VALIDATION.empty(), CURVES.empty(), compared, site_agreement(compared), exact)


def _tables(test: GroupTest, power: str) -> ValidationTables:
    """The tables of a group whose tests are made."""
    begun, plan = test.begun, test.begun.input.plan
    gaps: dict[str, float] = {}
    for batches in test.runs:
        gaps |= dict(zip(pair_ids_of(batches), metric_gap(batches).cpu().double().tolist(), strict=True))
    rows = pd.concat([test.ranking.exact, *test.exact], ignore_index=True)
    table = validation_table(rows, begun.features, gaps, plan.smallest)
    compared = compared_effects(rows, begun.features, table, begun.task.times)
    curves = _curves(test) if plan.longest_curve else CURVES.empty()
    return ValidationTables(table, curves, compared, site_agreement(compared), rows, power)


def _curves(test: GroupTest) -> pd.DataFrame:
    begun, ranking, task = test.begun, test.ranking, test.begun.task
    courses = []
    for fold, batches in zip(begun.folds, test.runs, strict=True):
        orders = feature_orders(fold.ranked, ranking, begun.input.plan.longest_curve, task.pace.seed)
        courses.append(Course([on_device(batch) for batch in batches], orders))
    on_layer = counting(task.on_step, "cumulative curves")
    return cumulative_curves(courses, task.saes, ranking.stand_ins, task.pace, on_layer)
