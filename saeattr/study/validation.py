"""The stage that validates a group, taken up again at the next feature where an earlier run was interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from saeattr.files import read_table, write_table
from saeattr.runs.task import Task
from saeattr.study.attribution import Attribution
from saeattr.study.folder import StudyFolder
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import (
    AGREEMENT,
    ATTRIBUTIONS,
    COMPARED,
    CURVES,
    EXACT,
    FEATURES,
    VALIDATION,
    Table,
    features_of,
)
from saeattr.validation.group import Estimates, Parts, ValidationPlan, ValidationTables, validate_features
from saeattr.validation.verdicts import few_pairs_warnings


@dataclass(frozen=True)
class Validation(Stage):
    """Exact effects of a group's top features against controls, and of many together."""

    plan: ValidationPlan = dataclasses.field(default_factory=ValidationPlan)

    name: ClassVar[str] = "validation"
    joined: ClassVar[tuple[Table, ...]] = (VALIDATION, CURVES, AGREEMENT)
    kept: ClassVar[tuple[Table, ...]] = (COMPARED, EXACT)

    def run(self, work: Work) -> Outcome:
        features = Attribution.read(work.study, FEATURES, work.group)
        single = self.plan.positions == "single"
        attributions = Attribution.read(work.study, ATTRIBUTIONS, work.group) if single else None
        partial = self._partial(work.study, work.group)
        tables = validate_group(work.task, Estimates(features, attributions), self.plan, partial)
        warnings = few_pairs_warnings(len(work.task.pairs))
        return Outcome({table.name: getattr(tables, table.name) for table in (*self.joined, *self.kept)}, warnings)

    def write(self, study: StudyFolder, group: str, outcome: Outcome) -> None:
        super().write(study, group, outcome)
        discard_partial(self._partial(study, group))

    def _partial(self, study: StudyFolder, group: str) -> Path:
        """Beside the stage's folder, so that what is half done is not taken for stored."""
        folder = self.folder(study, group)
        return folder.with_name(f".partial-{folder.name}")


def validate_group(
    task: Task, estimates: Estimates, wanted: ValidationPlan, partial: Path | None = None
) -> ValidationTables:
    """``validate_features``, with each feature's exact effects stored as soon as they are measured.

    Args:
        partial: a folder for what is measured so far; an interrupted validation goes on from it, if pairs, SAEs and
            plans are the same. ``discard_partial`` removes it once the tables are stored. None stores nothing.

    Raises:
        UserError: the folder cannot be written, or what it holds is damaged.
    """
    if partial is None:
        return validate_features(task, estimates, wanted)
    path = partial / f"exact-{_key(task, estimates, wanted)}.parquet"
    known = [read_table(path, EXACT) if path.exists() else EXACT.empty()]

    def store(part: pd.DataFrame) -> None:
        known.append(part)
        write_table(path, EXACT.frame(pd.concat([rows for rows in known if len(rows)])))

    return validate_features(task, estimates, wanted, Parts(known[0], store))


def discard_partial(partial: Path) -> None:
    """Remove what ``validate_group`` kept for an interrupted run."""
    for path in partial.glob("exact-*.parquet"):
        path.unlink()
    if partial.is_dir() and not any(partial.iterdir()):
        partial.rmdir()


def _key(task: Task, estimates: Estimates, wanted: ValidationPlan) -> str:
    """Changes with everything that exact effects depend on; the pace does not change them."""
    top = estimates.features.sort_values("rank", kind="stable").head(wanted.top)
    question = task.question
    parts = [
        task.lm.name,
        [(pair.pair_id, pair.clean_ids, pair.corrupted_ids, pair.points) for pair in task.pairs],
        [(str(file.site), file.name) for file in task.saes],
        [(str(site), feature) for site, feature in features_of(top)],
        (question.metric.name, question.decision, question.base),
        (wanted.n_controls, wanted.positions),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
