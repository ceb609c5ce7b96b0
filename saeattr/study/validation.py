"""The stage that validates a group, taken up again at the next feature where an earlier run was interrupted."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.files import read_metadata, read_table, write_table
from saeattr.runs.task import Task
from saeattr.study.attribution import Attribution
from saeattr.study.folder import StudyFolder
from saeattr.study.pairs import stored_test_pairs
from saeattr.study.site_parts import read_sums
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import (
    AGREEMENT,
    ATTRIBUTIONS,
    COMPARED,
    CURVES,
    ENTRIES,
    EXACT,
    FEATURES,
    VALIDATION,
    Table,
    features_of,
)
from saeattr.validation.evidence import FEWEST_PAIRS, Estimates
from saeattr.validation.group import ValidationPlan, ValidationTables, validate_features
from saeattr.validation.parts import Parts
from saeattr.validation.verdicts import judge

_POWER, _JUDGED = "saeattr.power", "saeattr.judged_over_groups"


@dataclass(frozen=True)
class Validation(Stage):
    """Exact effects of a group's top features against controls, and of many together, on pairs that did not rank them.

    Attributes:
        fresh: pairs drawn to test on (``MakingTestPairs``); None where halves of the group's pairs test each other.
    """

    plan: ValidationPlan = dataclasses.field(default_factory=ValidationPlan)
    fresh: int | None = None

    name: ClassVar[str] = "validation"
    joined: ClassVar[tuple[Table, ...]] = (VALIDATION, CURVES, AGREEMENT)
    kept: ClassVar[tuple[Table, ...]] = (COMPARED, EXACT)
    over_groups: ClassVar[tuple[Table, ...]] = (VALIDATION,)

    def run(self, work: Work) -> Outcome:
        features = Attribution.read(work.study, FEATURES, work.group)
        attributions = None
        if self.plan.positions == "single":
            check_every_entry(work.study, work.group, "--positions single")
            attributions = Attribution.read(work.study, ATTRIBUTIONS, work.group)
        fresh = None if self.fresh is None else stored_test_pairs(work.study, work.group)
        sums = functools.partial(read_sums, [Attribution.folder(work.study, work.group)])
        estimates = Estimates(features, attributions, sums)
        partial = self.partial(work.study, work.group)
        tables = validate_group(work.task, estimates, self.plan, fresh, partial)
        found = {table.name: getattr(tables, table.name) for table in (*self.joined, *self.kept)}
        return Outcome(found, _warnings(work.group, tables), {_POWER: tables.power})

    def write(self, study: StudyFolder, group: str, outcome: Outcome) -> None:
        super().write(study, group, outcome)
        discard_partial(self.partial(study, group))

    @classmethod
    def join(cls, study: StudyFolder, groups: Sequence[str]) -> None:
        """Join as every stage does, with q-values and verdicts over all that the study tests."""
        super().join(study, groups)
        path = study.table_path(VALIDATION.name)
        metadata = read_metadata(path)
        if path.exists() and _JUDGED not in metadata:
            table = read_table(path, VALIDATION)
            write_table(path, VALIDATION.frame(judge(table)) if len(table) else table, {**metadata, _JUDGED: "yes"})


def check_every_entry(study: StudyFolder, group: str, what: str) -> None:
    """Refuse ``what`` needs every entry of attributions.parquet where small ones were left out.

    Raises:
        UserError: they were.
    """
    entries = Attribution.read(study, ENTRIES, group)
    if (entries["n_kept"] < entries["n_entries"]).any():
        raise UserError(
            f"{what} needs every entry, and attributions.parquet of {group} in {study.root} has the large ones alone: "
            "leave it out, or make the study again with --keep-from 0"
        )


def power_of(study: StudyFolder, group: str) -> str:
    """What a group's tests could show, as it was said before they were made; blank where nothing was tested."""
    return read_metadata(Validation.path(study, group, VALIDATION)).get(_POWER, "")


def _warnings(group: str, tables: ValidationTables) -> list[str]:
    """A line where the tests cannot give verdicts."""
    few = tables.validation["n_pairs"].lt(FEWEST_PAIRS).any()
    return [f"{group}: {tables.power}"] if few else []


def validate_group(
    task: Task,
    estimates: Estimates,
    wanted: ValidationPlan,
    fresh: Sequence[Pair] | None = None,
    partial: Path | None = None,
) -> ValidationTables:
    """``validate_features``, with exact effects stored as soon as they are measured.

    Args:
        partial: a folder for what is measured so far; an interrupted validation goes on from it, if pairs, SAEs and
            plans are the same. ``discard_partial`` removes it once the tables are stored. None stores nothing.

    Raises:
        UserError: the folder cannot be written, or what it holds is damaged.
    """
    if partial is None:
        return validate_features(task, estimates, wanted, fresh)
    path = partial / f"exact-{_key(task, estimates, wanted, fresh)}.parquet"
    known = [read_table(path, EXACT) if path.exists() else EXACT.empty()]

    def store(part: pd.DataFrame) -> None:
        known.append(part)
        write_table(path, EXACT.frame(pd.concat([rows for rows in known if len(rows)])))

    return validate_features(task, estimates, wanted, fresh, Parts(known[0], store))


def discard_partial(partial: Path) -> None:
    """Remove what ``validate_group`` kept for an interrupted run."""
    for path in partial.glob("exact-*.parquet"):
        path.unlink()
    if partial.is_dir() and not any(partial.iterdir()):
        partial.rmdir()


def _key(task: Task, estimates: Estimates, wanted: ValidationPlan, fresh: Sequence[Pair] | None) -> str:
    """Changes with everything that exact effects depend on; of the pace only the seed, which draws controls, does."""
    top = estimates.features.sort_values("rank", kind="stable").head(wanted.top)
    question = task.question
    parts = [
        task.lm.name,
        [(pair.pair_id, *pair.evidence) for pair in task.pairs],
        None if fresh is None else [(pair.pair_id, *pair.evidence) for pair in fresh],
        [(str(file.site), file.name) for file in task.saes],
        [(str(site), feature) for site, feature in features_of(top)],
        (question.metric.name, question.decision, question.base),
        (wanted.n_controls, wanted.positions, wanted.most_pairs, task.pace.seed),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
