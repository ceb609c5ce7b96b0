"""Pages of docs/ that are printed from the code say what the code says."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from docs import study_folder  # noqa: E402
from saeattr.tables import TABLES


def test_the_study_folder_page_is_what_its_script_prints():
    written = (ROOT / "docs" / "study-folder.md").read_text(encoding="utf-8")
    assert written == study_folder.page(), "run python scripts/docs/study_folder.py"


def test_every_column_of_every_table_stands_on_the_study_folder_page():
    sections = study_folder.page().split("\n### ")
    for table in TABLES.values():
        (section,) = [part for part in sections if part.startswith(f"{table.name}.parquet\n")]
        rows = [line.split("|")[1].strip(" `") for line in section.splitlines() if line.startswith("| `")]
        assert rows == table.names


def test_no_mark_is_left_on_the_study_folder_page():
    page = study_folder.page()
    assert not [mark for mark in ("{tables}", "{stages}", "{joined}", "{may_differ}") if mark in page]
