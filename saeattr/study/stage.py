"""What every stage of a study has in common: its folder, what makes it done, writing, joining and reading its tables.

A stage works on one group of pairs at a time, or on several together. A group's tables are written together, whole or
not at all, with their SHA-256 and a record of what was wanted and what they were made of; the same stage wanted again
in the same way is done, unless a table is damaged. docs/extending.md writes one step by step.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pandas as pd

from saeattr.behaviours.behaviour import Request
from saeattr.files import fault, is_stored, join_parts, listed_sums, read_metadata, read_table, slug, write_part
from saeattr.progress import OnStep, quiet
from saeattr.runs.task import Task
from saeattr.settings import StudySettings
from saeattr.study.folder import StudyFolder
from saeattr.study.marks import MADE_OF, check_place, made_of, place_marks
from saeattr.study.prepare import Prepared
from saeattr.tables import GROUP, Table

#: Written into every table, because tools disagree on it.
SIGN_CONVENTION = (
    "effect: estimated change of the metric when the feature is patched from its clean to its base value "
    "(gradient on the clean run, towards the base)"
)

#: In place of a group: what a stage makes of the pairs of all groups.
WHOLE = "study"

JOINED_GROUPS = "saeattr.groups"
_WANTED, _SIGN = "saeattr.wanted", "saeattr.sign_convention"
#: Of a joined table: the digest of its parts' sums.
_PARTS = "saeattr.parts"


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
        opens_saes: False for what needs the model alone; of_sites: whether its numbers are of the study's sites.
        made_from: the stages (by name) whose tables of the same group it reads: made anew of others, it is done again.
        kept_in: folders of the study in which it keeps what its tables are made of (lists), a file a group.
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
    of_sites: ClassVar[bool] = True
    made_from: ClassVar[tuple[str, ...]] = ("pairs",)
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

    @property
    def kept_in(self) -> tuple[str, ...]:
        return ()

    def of_groups(self, group: str) -> tuple[str, ...]:
        """The groups whose tables it reads."""
        return (group,)

    def marks(self, study: StudyFolder, group: str) -> dict[str, str]:
        """What its tables' metadata say now of a group: what is wanted, where they belong, what they are made of.

        Raises:
            UserError: study.yaml is damaged.
        """
        names = [slug(one) for one in self.of_groups(group)]
        folders = [study.root / stage / name for stage in self.made_from for name in names]
        kept = made_of(study, folders, self._kept_files(study, group))
        own = self._place(study, self.folder(study, group, self.variant), group)
        return {_WANTED: self.wanted(), **own, MADE_OF: kept}

    def is_done(self, study: StudyFolder, group: str) -> bool:
        """Whether the stage is stored for a group, undamaged, as it is wanted now."""
        paths = self._paths(study, group)
        # A table that a user deleted is made again.
        if any(not path.exists() for path in paths) or any(map(fault, [*paths, *self._kept_files(study, group)])):
            return False
        known = read_metadata(paths[0])
        return all(known.get(name) == value for name, value in self.marks(study, group).items())

    def damage(self, study: StudyFolder, group: str) -> list[str]:
        """What is stored for a group and cannot be taken, a line each."""
        begun = self.partial(study, group).rglob("*.parquet")
        found = {path: fault(path) for path in (*self._paths(study, group), *self._kept_files(study, group), *begun)}
        damaged = {path: why for path, why in found.items() if why is not None}
        told = [f"{path.relative_to(study.root)} is damaged ({why}): done again" for path, why in damaged.items()]
        folder = self.folder(study, group, self.variant)
        if not told and folder.is_dir() and self.is_elsewheres(study, folder, group):
            told = [f"{folder.relative_to(study.root)} is of another group or study: done again"]
        return told

    def _paths(self, study: StudyFolder, group: str) -> list[Path]:
        folder = self.folder(study, group, self.variant)
        return [folder / f"{table.name}.parquet" for table in (*self.joined, *self.kept)]

    def _kept_files(self, study: StudyFolder, group: str) -> list[Path]:
        return [study.root / folder / f"{slug(group)}.parquet" for folder in self.kept_in]

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
            metadata = {**self.marks(study, group), **outcome.notes}
            write_part(self.folder(study, group, self.variant), tables, metadata)

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
        """Join the groups' parts of its tables; what is joined already of the same parts, and whole, stays as it is.

        Raises:
            UserError: a part is damaged, or another group's or study's.
        """
        there = [group for group in groups if cls.is_there(study, group)]
        parts = {part: group for group in there for part in cls.parts(study, group)}
        for table in cls.joined if parts else ():
            path = study.table_path(table.name)
            sums = [listed_sums(part).get(path.name) for part in parts]
            of = hashlib.sha256(repr(sums).encode()).hexdigest()
            metadata = {JOINED_GROUPS: json.dumps(there), _SIGN: SIGN_CONVENTION, _PARTS: of}
            known = read_metadata(path) if fault(path) is None else {}
            if any(known.get(key) != value for key, value in metadata.items()):
                for part, group in parts.items():
                    check_place(study, part / path.name, cls._place(study, part, group))
                join_parts(path, list(parts), metadata, table)

    @classmethod
    def stored(cls, study: StudyFolder, table: Table, group: str) -> list[Path]:
        """The files of one of its tables, of one group: one, or one for each variant, or none.

        Raises:
            UserError: one is damaged, or another group's or study's.
        """
        found = {part / f"{table.name}.parquet": part for part in cls.parts(study, group)}
        there = {path: part for path, part in found.items() if is_stored(path)}
        for path, part in there.items():
            check_place(study, path, cls._place(study, part, group))
        return list(there)

    @classmethod
    def stored_path(cls, study: StudyFolder, table: Table, group: str) -> Path:
        """The file of one of its tables, of one group (of stages without variants), whether or not it is there.

        Raises:
            UserError: it is damaged, or another group's or study's.
        """
        return next(iter(cls.stored(study, table, group)), cls.path(study, group, table))

    @classmethod
    def read(cls, study: StudyFolder, table: Table, group: str | None = None) -> pd.DataFrame:
        """One of its tables, of one group or (a joined one) of all; without rows where the stage was not run.

        Raises:
            UserError: the file is damaged or of another version, group or study.
        """
        joined = study.table_path(table.name)
        if group is None:
            return read_table(joined, table) if is_stored(joined) else table.empty()
        if not (table in cls.over_groups and is_stored(joined)):
            # The group's own part: the joined table of many groups is large.
            stored = cls.stored(study, table, group)
            if stored:
                return pd.concat([read_table(path, table) for path in stored], ignore_index=True)
        whole = cls.read(study, table)
        return whole[whole[GROUP] == group].reset_index(drop=True)

    @classmethod
    def _place(cls, study: StudyFolder, folder: Path, group: str) -> dict[str, str]:
        return place_marks(study, folder, group, cls.opens_saes, cls.opens_saes and cls.of_sites)

    @classmethod
    def is_elsewheres(cls, study: StudyFolder, folder: Path, group: str) -> bool:
        """Whether a part of a group, whole in itself, says that it is another group's or study's."""
        known = read_metadata(folder / f"{cls.joined[0].name}.parquet")
        return any(known.get(name) != value for name, value in cls._place(study, folder, group).items())
