"""Study folders that hold no work yet: their record binds nobody, and a run that fails leaves none of them behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from saeattr.files import disk_errors, remove_stored
from saeattr.study.folder import StudyFolder, differences, read_record

#: What pairs are made of: where none of them turned out to be of use, it binds nobody to its settings.
SOURCES = ("lists", "test_lists", "reversed_lists", "lists_at")
#: Folders of the stages whose numbers are of SAEs.
OF_SAES = ("attribution", "validation", "generation", "steering")


def holds_work(study: StudyFolder) -> bool:
    """Whether a table with rows is stored, or what pairs are still to be made of."""
    paths = list(study.root.rglob("*.parquet"))
    made = [path for path in paths if _top(study, path) not in SOURCES]
    return any(map(_has_rows, made)) if made else bool(paths)


def holds_saes_work(study: StudyFolder) -> bool:
    """Whether anything complete is stored that was computed with SAEs."""
    parts = (part for name in OF_SAES for part in (study.root / name).glob("*"))
    return any(not part.name.startswith(".") for part in parts)


def yields(study: StudyFolder, record: Mapping[str, Any]) -> bool:
    """Whether the folder has a record that differs, and that stands for no work.

    Raises:
        UserError: the record is damaged.
    """
    there = study.record_path.exists()
    return there and any(differences(read_record(study), record)) and not holds_work(study)


def clear(study: StudyFolder) -> None:
    """Remove what a study without work consists of, but for its record; other files stay.

    Raises:
        UserError: the folder cannot be written.
    """
    with disk_errors(study.root):
        for name in {_top(study, path) for path in study.root.rglob("*.parquet")}:
            remove_stored(study.root / name)
        for path in (study.given_path, study.plan_path, study.notes_path):
            remove_stored(path)
        for path in list(study.root.iterdir()):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def forget_partial(study: StudyFolder) -> None:
    """Remove what was half done with SAEs that are others now."""
    for name in OF_SAES:
        for part in (study.root / name).glob(".partial-*"):
            remove_stored(part)


def _top(study: StudyFolder, path: Path) -> str:
    return path.relative_to(study.root).parts[0]


def _has_rows(path: Path) -> bool:
    try:
        return pq.read_metadata(path).num_rows > 0
    except (OSError, pa.ArrowException):
        # Damaged work is work: it is not for this to remove it.
        return True
