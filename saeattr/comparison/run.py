"""From two studies to a comparison: pairs in common, changes of estimates, and exact ones where they are asked for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from saeattr.comparison.alike import CommonPairs, check_alike, common_pairs, common_test_pairs
from saeattr.comparison.changes import READ, entry_changes, feature_changes, site_changes, with_q_values
from saeattr.comparison.exact import ExactChanges, measure_both
from saeattr.comparison.judged import change_tests, judge_changes
from saeattr.comparison.plan import ChangeFold, change_folds, draw_directions
from saeattr.comparison.results import Comparison
from saeattr.files import read_table
from saeattr.progress import OnProgress, OnStep, about
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from saeattr.stats import ratio_interval, sign_test
from saeattr.study.attribution import Attribution
from saeattr.study.reopen import study_saes, study_task
from saeattr.study.results import Study
from saeattr.study.validation import check_every_entry
from saeattr.tables import (
    ATTRIBUTIONS,
    CHANGE_EXACT,
    CHANGE_TESTS,
    CHANGES,
    FEATURE,
    SITE_CHANGES,
    Table,
    row_site,
)
from saeattr.validation.controls import CONTROLS
from saeattr.validation.evidence import ALPHA, FEWEST_PAIRS


@dataclass(frozen=True)
class ExactPlan:
    """What exact effects are to be measured.

    Attributes:
        top: features of a group whose change is tested; 0 opens no model.
        n_controls: for each of them.
        smallest: the smallest change of interest, as a share of the clean-corrupted gap in A.
        device, pace: where and how the models run.
    """

    top: int = 0
    n_controls: int = CONTROLS
    smallest: float = 0.01
    device: str = "auto"
    pace: Pace = dataclasses.field(default_factory=Pace)


@dataclass(frozen=True)
class _Group:
    """One group's pairs in common, its entries in both models, and the changes of its features."""

    common: CommonPairs
    entries: pd.DataFrame
    changes: pd.DataFrame


def compare_studies(a: Study, b: Study, wanted: ExactPlan, folder: Path, on_progress: OnProgress) -> Comparison:
    """Compare two studies on the pairs they have in common.

    Raises:
        UserError: they differ in more than their model, a table is damaged, or (for exact effects) a model or an SAE
            has changed since its study was made.
    """
    notes = check_alike(a, b)
    groups: list[_Group] = []
    for group in (name for name in a.groups if name in b.groups):
        on_progress(group, "changes of estimates", 0, 1)
        groups.append(_compare_group(a, b, group))
        on_progress(group, "changes of estimates", 1, 1)
    changes = with_q_values(_joined(CHANGES, [one.changes for one in groups]))
    notes += [one.common.note for one in groups if one.common.note]
    notes += _power(changes)
    names = [one.common.group for one in groups]
    sites = [
        site_changes(one.common.group, one.entries, changes[changes["group"] == one.common.group], ALPHA)
        for one in groups
    ]
    tests, exact = [], []
    for at, one in enumerate(groups if wanted.top else ()):
        fresh = common_test_pairs(a, b, names[at])
        folds = change_folds(one.entries, one.common, fresh, wanted.top)
        if not any(len(fold.ranked) for fold in folds):
            notes.append(f"{names[at]}: no feature, or no pair that did not rank it, is left: nothing is tested")
            continue
        measured = _measure(a, b, folds, wanted, about(on_progress, names[at]))
        estimates = pd.concat([fold.ranked for fold in folds]).groupby(FEATURE)["change_mean"].mean().to_dict()
        tests.append(change_tests(measured.effects, estimates, measured.gaps, wanted.smallest))
        exact.append(measured.effects)
        sites[at] = _with_taken_back(sites[at], measured)
    return Comparison(
        *model_names(a, b),
        a.metric_label,
        changes,
        _joined(SITE_CHANGES, sites),
        judge_changes(_joined(CHANGE_TESTS, tests)),
        _joined(CHANGE_EXACT, exact),
        tuple(notes),
        folder,
    )


def model_names(a: Study, b: Study) -> tuple[str, str]:
    """The models' names, or the studies' folders where these would not tell them apart."""
    names = a.record["model"]["name"], b.record["model"]["name"]
    return names if names[0] != names[1] else (str(a.folder.root), str(b.folder.root))


def _compare_group(a: Study, b: Study, group: str) -> _Group:
    common = common_pairs(a, b, group)
    one, two = (_attributions(study, group) for study in (a, b))
    entries = entry_changes(one, two, common.other)
    return _Group(common, entries, feature_changes(group, entries, {pair.pair_id: pair.times for pair in common.pairs}))


def _attributions(study: Study, group: str) -> pd.DataFrame:
    """The group's own part: the joined table of many groups is large."""
    check_every_entry(study.folder, group, "compare")
    return read_table(Attribution.stored_path(study.folder, ATTRIBUTIONS, group), ATTRIBUTIONS, READ)


def _measure(a: Study, b: Study, folds: Sequence[ChangeFold], wanted: ExactPlan, on_step: OnStep) -> ExactChanges:
    """Exact effects of a group's most changed features in both models, on pairs that did not rank them."""
    group = folds[0].pairs[0].group
    active = a.active(group)[FEATURE].merge(b.active(group)[FEATURE])
    files = {file.site: file for file in study_saes(a)}
    directions = draw_directions(folds, files, active, wanted.n_controls, wanted.pace.seed)

    def opener(study: Study) -> Callable[[], Task]:
        return lambda: dataclasses.replace(study_task(study, on_step, wanted.device), pace=wanted.pace)

    return measure_both(opener(a), opener(b), folds, directions)


def _with_taken_back(sites: pd.DataFrame, measured: ExactChanges) -> pd.DataFrame:
    """The sites with the share of the metric's change that A's x takes back in B."""
    rows = []
    for row in sites.to_dict("records"):
        ends = ratio_interval(-measured.taken_back[row_site(row)], measured.metric_change)
        # 0.0 more, so that no -0.0 is printed.
        ends = tuple(end + 0.0 for end in ends)
        rows.append({**row, **dict(zip(("taken_back", "taken_back_low", "taken_back_high"), ends, strict=True))})
    return SITE_CHANGES.frame(pd.DataFrame(rows))


def _power(changes: pd.DataFrame) -> list[str]:
    """A line where so few pairs cannot show any change among so many features."""
    if changes.empty:
        return ["no feature has an effect in half of the pairs of either model: nothing is compared"]
    n_pairs, n_features = int(changes["n_pairs"].max()), len(changes)
    if n_pairs < FEWEST_PAIRS:
        known = f"{n_pairs} pair{'' if n_pairs == 1 else 's'}"
        return [f"{known} in common: no interval and no q-value can be known with fewer than {FEWEST_PAIRS}"]
    # All of them have the smallest p-value that so many pairs allow (Benjamini and Hochberg).
    together = math.ceil(float(sign_test(np.ones((1, n_pairs)))[0]) * n_features / ALPHA)
    if together > n_features:
        return [f"{n_pairs} pairs cannot show any change among {n_features} features at a false discovery rate of 5 %"]
    if together == 1:
        return []
    return [
        f"with {n_pairs} pairs, changes among {n_features} features are shown only if at least {together} have the "
        "same sign in every pair"
    ]


def _joined(table: Table, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else table.empty()
