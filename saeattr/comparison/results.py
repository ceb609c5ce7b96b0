"""A comparison of two studies: its tables, and the folder they are in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from saeattr.errors import UserError
from saeattr.files import disk_errors, write_table, write_text
from saeattr.study.lock import is_content
from saeattr.study.results import Study
from saeattr.tables import CHANGE_EXACT, CHANGE_TESTS, CHANGES, SITE_CHANGES

RECORD = "comparison.yaml"


@dataclass(frozen=True)
class Comparison:
    """What changed from the model of study A to that of study B.

    Attributes:
        a, b: the models' names, with the study's folder where they are the same.
        metric_label: what the effects are effects on.
        changes, sites, tests, exact: ``tables.CHANGES``, ``SITE_CHANGES``, ``CHANGE_TESTS`` and ``CHANGE_EXACT``; the
            last two without rows where no exact effects were asked for.
        notes: what a reader should know, one line each.
        folder: where they are written.
    """

    a: str
    b: str
    metric_label: str
    changes: pd.DataFrame
    sites: pd.DataFrame
    tests: pd.DataFrame
    exact: pd.DataFrame
    notes: tuple[str, ...]
    folder: Path

    @property
    def figures(self) -> list[Path]:
        """The figures' PNG files."""
        return sorted(self.folder.glob("*.png"))


def check_folder(folder: Path) -> None:
    """Refuse a folder with something else in it.

    Raises:
        UserError: it holds a study, or other files.
    """
    if folder.exists() and not (
        folder.is_dir() and ((folder / RECORD).exists() or not any(map(is_content, folder.iterdir())))
    ):
        raise UserError(f"{folder} exists and holds no comparison: give another folder with --out")


def write_comparison(found: Comparison, studies: tuple[Study, Study], asked: dict[str, Any]) -> None:
    """Write its tables, and what was compared with what.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with disk_errors(found.folder):
        found.folder.mkdir(parents=True, exist_ok=True)
    tables = ((CHANGES, found.changes), (SITE_CHANGES, found.sites), (CHANGE_TESTS, found.tests))
    for table, rows in (*tables, (CHANGE_EXACT, found.exact)):
        path = found.folder / f"{table.name}.parquet"
        if len(rows):
            write_table(path, rows)
        else:
            # Of an earlier comparison in this folder.
            path.unlink(missing_ok=True)
    record = {
        **{
            name: {"study": str(study.folder.root), "model": study.record["model"]}
            for name, study in zip("ab", studies, strict=True)
        },
        "metric_label": found.metric_label,
        "asked": asked,
        "notes": list(found.notes),
    }
    write_text(found.folder / RECORD, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
