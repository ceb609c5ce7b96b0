"""Exact effects of the groups' top features in the pairs that test them, every SAE opened once for all groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from saeattr.attribution.group import attribute_group
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns
from saeattr.runs.kept import RunStore, at_site
from saeattr.runs.task import Task
from saeattr.saes.loading import stream_saes
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site
from saeattr.tables import by_site, features_of
from saeattr.validation.begin import Begun
from saeattr.validation.evidence import Fold
from saeattr.validation.ranking import Ranking
from saeattr.validation.site import SiteTest, strongest_at, strongest_entries
from saeattr.validation.waiting import files_of, forget_keys_values, waiting_runs


@dataclass(frozen=True, eq=False)
class GroupTest:
    """A group's tests as they are made.

    Attributes:
        runs: of each fold's pairs; exact: rows of ``tables.EXACT``, one table a tested feature. Filled as it goes.
    """

    begun: Begun
    ranking: Ranking
    runs: list[list[BatchRuns]] = field(default_factory=list)
    exact: list[pd.DataFrame] = field(default_factory=list)


def measure_tests(groups: Sequence[GroupTest], store: RunStore) -> None:
    """Run the pairs of each group's folds, and measure each fold's features along their own and others' directions."""
    folds = []
    for group in groups:
        for fold in group.begun.folds:
            group.runs.append(waiting_runs(dataclasses.replace(group.begun.task, pairs=fold.pairs), store))
            folds.append(_FoldTest.of(group, fold, group.runs[-1]))
    if not folds:
        return
    totals = [sum(fold.n_tested for fold in folds if fold.group is group) for group in groups]
    for sae in stream_saes(files_of([fold.task for fold in folds]), groups[0].begun.task.lm.device):
        for fold in folds:
            if sae.site in fold.tested:
                _measure_fold(fold, sae, totals[groups.index(fold.group)])
                forget_keys_values(fold.batches, len(groups))
    for group, total in zip(groups, totals, strict=True):
        group.begun.task.on_step("exact effects", total, total)


@dataclass(frozen=True, eq=False)
class _FoldTest:
    """One fold's pairs, run, and what is tested in them; ``entries`` as in ``Begun``, of these pairs."""

    group: GroupTest
    task: Task
    tested: Mapping[Site, Sequence[int]]
    batches: Sequence[BatchRuns]
    entries: pd.DataFrame | None

    @classmethod
    def of(cls, group: GroupTest, fold: Fold, batches: Sequence[BatchRuns]) -> _FoldTest:
        plan = group.begun.input.plan
        tested = by_site(features_of(fold.ranked.head(plan.top)))
        files = [file for file in group.begun.task.saes if file.site in tested]
        task, entries = dataclasses.replace(group.begun.task, pairs=fold.pairs, saes=files), None
        if plan.positions == "single":
            # Where a feature is patched in a pair is for the pair's own attribution to say.
            entries = strongest_entries(attribute_group(task).attributions)
        return cls(group, task, tested, batches, entries)

    @property
    def n_tested(self) -> int:
        return sum(map(len, self.tested.values()))


def _measure_fold(fold: _FoldTest, sae: SparseAutoencoder, total: int) -> None:
    group, task = fold.group, fold.task
    batches = [at_site(batch, sae.site) for batch in fold.batches]
    strongest = None if fold.entries is None else strongest_at(fold.entries, sae.site)
    measure = SiteTest(SiteBase.of(sae, batches), batches, "test", task.pace.copies, strongest)
    for feature in fold.tested[sae.site]:
        task.on_step("exact effects", len(group.exact), total)
        directions = [feature, *group.ranking.controls[sae.site, feature]]
        group.exact.append(group.begun.input.parts.along(measure, feature, directions))
