"""Stored tables with other rows, as if a study had given these."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from saeattr.files import SUMS, read_metadata, write_table
from saeattr.files.sums import folder_sums


def write_tampered(path: Path, rows: pd.DataFrame) -> None:
    """Put other rows into a table of a stage's folder, which keeps its metadata and gets their SHA-256."""
    write_table(path, rows, read_metadata(path))
    (path.parent / SUMS).write_text(folder_sums(path.parent), encoding="utf-8")
