"""Lists wherever they lie: generated folders, studies, files, folders of files, datasets on the hub; row by row.

Nothing but a JSON file (one value) is held in memory whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from saeattr.behaviours.given.source import names_dataset, read_hub
from saeattr.behaviours.lists.shapes import FoundRow
from saeattr.behaviours.lists.written import RowProblem, WrittenList, checked_row, read_rows
from saeattr.corpus.generate import RECORD
from saeattr.errors import UserError
from saeattr.files import stored_files
from saeattr.settings.yaml_files import FAULTS

#: Files in a folder that may hold lists.
SUFFIXES = (".parquet", ".jsonl", ".json", ".txt", ".md")
#: Folders of a study with its own lists: behind the clean requests, and behind the corrupted ones.
OWN, REVERSED = "lists", "reversed_lists"
STUDY_LISTS = (OWN, REVERSED)
STUDY_RECORD = "study.yaml"


@dataclass(frozen=True)
class ListSource:
    """Where lists are read from, as often as wanted.

    Attributes:
        name: what a reader calls it: the last part of its path, or the dataset's name.
        files: that it is made of; none of a dataset on the hub.
        model: that wrote its lists, as its record names it; None where there is no record.
    """

    name: str
    files: tuple[Path, ...] = ()
    hub: str | None = None
    model: str | None = None

    def rows(self) -> Iterator[WrittenList | RowProblem]:
        """Its lists as they stand, one after the other, and the rows that are none.

        Raises:
            UserError: a file or the dataset cannot be read.
        """
        if self.hub is not None:
            for number, cells in enumerate(read_hub(self.hub), 1):
                yield checked_row(FoundRow(f"row {number}", cells))
        for path in self.files:
            several = f"{path.name} " if len(self.files) > 1 else ""
            for row in read_rows(path):
                yield RowProblem(f"{several}{row.row}", row.reason) if isinstance(row, RowProblem) else row


def find_lists(source: str | Path) -> ListSource:
    """What a name of lists means.

    A file, a folder of generated lists, a study folder, any folder of files with lists, or ``org/name``
    (``org/name:split``) of a dataset on the hub.

    Raises:
        UserError: there is nothing of that name, or the folder holds no file that may hold lists.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return ListSource(path.name, (path,))
    if path.is_dir():
        return _folder(path)
    if isinstance(source, str) and path.suffix.lower() not in SUFFIXES and names_dataset(source):
        return ListSource(source, hub=source)
    raise UserError(
        f"there are no lists {str(source)!r}: give a file, a folder of generated lists or of a study, or org/name of a "
        "dataset on the hub"
    )


def _folder(path: Path) -> ListSource:
    found = partial(ListSource, path.resolve().name)
    if (path / RECORD).is_file():
        files = tuple(sorted((path / "data").glob("*.parquet")))
        model = _model(path / RECORD, "model")
    elif (path / STUDY_RECORD).is_file():
        files = tuple(file for name in STUDY_LISTS for file in stored_files(path / name))
        model = _model(path / STUDY_RECORD, "settings")
    else:
        inside = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES)
        files = tuple(file for file in inside if file.is_file() and not file.name.lower().startswith(("readme", ".")))
        model = None
    if not files:
        raise UserError(f"{path} holds no lists: give a folder with files of them ({', '.join(SUFFIXES)})")
    return found(files, model=model)


def _model(record: Path, part: str) -> str | None:
    """The model that a record names, as one would name it again."""
    try:
        known: Any = yaml.safe_load(record.read_text(encoding="utf-8"))
        return str(known[part]["asked" if part == "model" else "model"])
    except (OSError, *FAULTS):
        return None
