"""What every stage of a study has in common: its folder, what makes it done, writing, joining and reading its tables.

A stage works on one group of pairs at a time, or on several together. A group's tables are written together, whole or
not at all, with a record of what was wanted; the same stage wanted again in the same way is done. docs/extending.md
writes one step by step.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pandas as pd

from saeattr.behaviours.behaviour import Request
from saeattr.files import join_parts, read_metadata, read_table, slug, write_part
from saeattr.progress import OnStep, quiet
from saeattr.runs.task import Task
from saeattr.settings import StudySettings
from saeattr.study.folder import StudyFolder
from saeattr.study.prepare import Prepared
from saeattr.tables import GROUP, Table

#: Written into every table, because tools disagree on it.
SIGN_CONVENTION = (
    "effect: estimated change of the metric when the feature is patched from its clean to its base value "
    "(gradient on the clean run, towards the base)"
)

#: In place of a group: what a stage makes of the pairs of all groups.
WHOLE = "study"

_WANTED, _GROUPS, _SIGN = "saeattr.wanted", "saeattr.groups", "saeattr.sign_convention"


@dataclass(frozen=True)
class Work:
    """What a stage is given for one group.

    Attributes:
        task: the group's pairs (none yet in the stage that makes them), the model, and what is asked.
        on_all: told of the steps that are made for several groups at once.
    """

    study: StudyFolder
    prepared: Prepared
    group: str
    task: Task
    on_all: OnStep = quiet

    def request(self, kept_in: str, settings: StudySettings | None = None) -> Request:
        """What the behaviour is asked for; what its pairs are made of stays in a folder of the study.

        Args:
            settings: in place of the study's own.
        """
        task, own = self.task, settings or self.prepared.settings
        folder = self.study.root / kept_in
        return Request(task.lm, own, self.prepared.contrast, folder, task.pace.batch_size, task.on_step)


@dataclass(frozen=True)
class Outcome:
    """What a stage gave for one group.

    Attributes:
        tables: by name, all that the stage declares; nothing where there is nothing to keep. Of one too large to be
            held, the folders whose tables of that name make it up.
        warnings: what the reader should know, one line each.
        notes: for the tables' schema metadata.
    """

    tables: Mapping[str, pd.DataFrame | Sequence[Path]] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage(ABC):
    """One step of a study; a subclass's fields are what is wanted of it, and decide whether it is done.

    Attributes:
        name: of its folder; joined: the tables that are joined over groups; kept: those that stay with each group.
        over_groups: joined ones whose rows say more when joined (q-values), and are read from there.
        opens_saes: False for what needs the model alone.
        has_variants: whether a study may hold several of it side by side (``variant``).
        of_all: whether a study has one of it, and not one of each group. It works on the pairs of all groups, after
            the stages of single ones, and has the groups among its fields.
        together: whether it does several groups at once (``run_groups``), so that what they share is opened once.
    """

    name: ClassVar[str]
    joined: ClassVar[tuple[Table, ...]]
    kept: ClassVar[tuple[Table, ...]] = ()
    over_groups: ClassVar[tuple[Table, ...]] = ()
    opens_saes: ClassVar[bool] = True
    has_variants: ClassVar[bool] = False
    of_all: ClassVar[bool] = False
    together: ClassVar[bool] = False

    @abstractmethod
    def run(self, work: Work) -> Outcome:
        """Do the work for one group.

        Raises:
            UserError: the group's input cannot be used.
        """

    def run_groups(self, works: Sequence[Work]) -> Iterator[Outcome]:
        """Do the work for several groups: what each gave, in order, as soon as it is there.

        Raises:
            UserError: the input of a group cannot be used.
        """
        return map(self.run, works)

    @property
    def variant(self) -> str:
        """Which of several of its kind this is: a folder of its own, whose rows say it too; blank for the only one."""
        return ""

    def wanted(self) -> str:
        """What decides the numbers, as text."""
        return json.dumps(dataclasses.asdict(self))

    def is_done(self, study: StudyFolder, group: str) -> bool:
        """Whether the stage is stored for a group, as it is wanted now."""
        folder = self.folder(study, group, self.variant)
        paths = [folder / f"{table.name}.parquet" for table in (*self.joined, *self.kept)]
        # A table that a user deleted is made again.
        return all(path.exists() for path in paths) and read_metadata(paths[0]).get(_WANTED) == self.wanted()

    def write(self, study: StudyFolder, group: str, outcome: Outcome) -> None:
        """Store all tables at once, in place of what was there.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        if outcome.tables:
            tables = {}
            for table in (*self.joined, *self.kept):
                given = outcome.tables[table.name]
                tables[table.name] = table.frame(given) if isinstance(given, pd.DataFrame) else given
            write_part(self.folder(study, group, self.variant), tables, {_WANTED: self.wanted(), **outcome.notes})

    @classmethod
    def folder(cls, study: StudyFolder, group: str, variant: str = "") -> Path:
        return study.root / cls.name / variant / slug(group)

    @classmethod
    def path(cls, study: StudyFolder, group: str, table: Table) -> Path:
        """The file of one of its tables, of a group (of stages without variants)."""
        return cls.folder(study, group) / f"{table.name}.parquet"

    @classmethod
    def parts(cls, study: StudyFolder, group: str) -> list[Path]:
        """The folders in which the stage is stored for a group: one, or one for each variant, or none."""
        pattern = f"*/{slug(group)}" if cls.has_variants else slug(group)
        return sorted(path for path in (study.root / cls.name).glob(pattern) if path.is_dir())

    @classmethod
    def partial(cls, study: StudyFolder, group: str) -> Path:
        """Where what is half done lies: beside the stage's folder, so that it is not taken for stored."""
        folder = cls.folder(study, group)
        return folder.with_name(f".partial-{folder.name}")

    @classmethod
    def is_there(cls, study: StudyFolder, group: str) -> bool:
        """Whether the stage is stored for a group in any way."""
        return bool(cls.parts(study, group))

    @classmethod
    def join(cls, study: StudyFolder, groups: Sequence[str]) -> None:
        """Join the groups' parts of its tables; what is joined already, and newer than its parts, stays as it is."""
        there = [group for group in groups if cls.is_there(study, group)]
        parts = [part for group in there for part in cls.parts(study, group)]
        metadata = {_GROUPS: json.dumps(there), _SIGN: SIGN_CONVENTION}
        for table in cls.joined if parts else ():
            path = study.table_path(table.name)
            newest = max((part / path.name).stat().st_mtime for part in parts)
            known = read_metadata(path)
            if any(known.get(key) != value for key, value in metadata.items()) or path.stat().st_mtime < newest:
                join_parts(path, parts, metadata, table)

    @classmethod
    def read(cls, study: StudyFolder, table: Table, group: str | None = None) -> pd.DataFrame:
        """One of its tables, of one group or (a joined one) of all; without rows where the stage was not run.

        Raises:
            UserError: the file is damaged or of another version.
        """
        if group is None:
            path = study.table_path(table.name)
            return read_table(path, table) if path.exists() else table.empty()
        # The group's own part: the joined table of many groups is large.
        parts = [part / f"{table.name}.parquet" for part in cls.parts(study, group)]
        stored = [part for part in parts if part.exists()]
        if stored and not (table in cls.over_groups and study.table_path(table.name).exists()):
            return pd.concat([read_table(part, table) for part in stored], ignore_index=True)
        whole = cls.read(study, table)
        return whole[whole[GROUP] == group].reset_index(drop=True)
