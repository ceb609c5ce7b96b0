"""The stage that validates a group, taken up again at the next feature where an earlier run was interrupted."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from saeattr.errors import UserError
from saeattr.files import fault, read_metadata, read_table, remove_stored, write_table
from saeattr.study.attribution import Attribution
from saeattr.study.folder import StudyFolder
from saeattr.study.pairs import stored_test_pairs
from saeattr.study.rounding import exact_rounding_warnings
from saeattr.study.site_parts import read_sums
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.study.waiting import in_rounds, run_bytes, waiting_store
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
from saeattr.validation.begin import GroupInput, ValidationPlan
from saeattr.validation.evidence import FEWEST_PAIRS, Estimates
from saeattr.validation.group import ValidationTables, validate_groups
from saeattr.validation.parts import Parts
from saeattr.validation.verdicts import judge
from saeattr.validation.waiting import waiting_values

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
    together: ClassVar[bool] = True
    made_from: ClassVar[tuple[str, ...]] = ("pairs", "test_pairs", "attribution")

    def run(self, work: Work) -> Outcome:
        return next(self.run_groups([work]))

    def run_groups(self, works: Sequence[Work]) -> Iterator[Outcome]:
        """Every SAE is opened once for all groups' tests; exact effects are stored as soon as they are measured."""
        names = [table.name for table in (*self.joined, *self.kept)]
        root = works[0].study.root
        for some in in_rounds(works, lambda work: run_bytes(work.task, waiting_values(work.task)), root):
            with waiting_store(root) as store:
                tables = validate_groups([self._input(work) for work in some], store)
                for work, own in zip(some, tables, strict=True):
                    found = {name: getattr(own, name) for name in names}
                    features = Attribution.read(work.study, FEATURES, work.group)
                    warnings = _warnings(work.group, own) + exact_rounding_warnings(work.task, features)
                    yield Outcome(found, warnings, {_POWER: own.power})

    def _input(self, work: Work) -> GroupInput:
        """A group's pairs and estimates, and what an interrupted validation measured of the same."""
        features = Attribution.read(work.study, FEATURES, work.group)
        attributions = None
        if self.plan.positions == "single":
            check_every_entry(work.study, work.group, "--positions single")
            attributions = Attribution.read(work.study, ATTRIBUTIONS, work.group)
        fresh = None if self.fresh is None else stored_test_pairs(work.study, work.group)
        sums = functools.partial(read_sums, [Attribution.folder(work.study, work.group)])
        group = GroupInput(work.task, Estimates(features, attributions, sums), self.plan, fresh)
        return dataclasses.replace(group, parts=stored_parts(group, self.partial(work.study, work.group)))

    def write(self, study: StudyFolder, group: str, outcome: Outcome) -> None:
        super().write(study, group, outcome)
        discard_partial(self.partial(study, group))

    @classmethod
    def join(cls, study: StudyFolder, groups: Sequence[str]) -> None:
        """Join as every stage does, with q-values and verdicts over all that the study tests."""
        super().join(study, groups)
        path = study.table_path(VALIDATION.name)
        metadata = read_metadata(path)
        if metadata and _JUDGED not in metadata:
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


def stored_parts(group: GroupInput, partial: Path) -> Parts:
    """What an interrupted validation of a group measured, and where what is measured is stored at once.

    Args:
        partial: the folder; ``discard_partial`` removes it once the tables are stored.

    Raises:
        UserError: the folder cannot be written, or what it holds is damaged.
    """
    path = partial / f"exact-{_key(group)}.parquet"
    # What is damaged is measured again.
    known = [read_table(path, EXACT) if path.exists() and fault(path) is None else EXACT.empty()]

    def store(part: pd.DataFrame) -> None:
        known.append(part)
        write_table(path, EXACT.frame(pd.concat([rows for rows in known if len(rows)])))

    return Parts(known[0], store)


def discard_partial(partial: Path) -> None:
    """Remove what ``validate_group`` kept for an interrupted run."""
    for path in partial.glob("exact-*.parquet"):
        remove_stored(path)
    if partial.is_dir() and not any(partial.iterdir()):
        partial.rmdir()


def _key(group: GroupInput) -> str:
    """Changes with everything that exact effects depend on; of the pace only the seed, which draws controls, does."""
    task, plan, question = group.task, group.plan, group.task.question
    top = group.estimates.features.sort_values("rank", kind="stable").head(plan.top)
    parts = [
        task.lm.name,
        [(pair.pair_id, *pair.evidence) for pair in task.pairs],
        None if group.fresh is None else [(pair.pair_id, *pair.evidence) for pair in group.fresh],
        [(str(file.site), file.name) for file in task.saes],
        [(str(site), feature) for site, feature in features_of(top)],
        (question.metric.name, question.decision, question.base),
        (plan.n_controls, plan.positions, plan.most_pairs, task.pace.seed),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
