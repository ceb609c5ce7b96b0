"""Pages of docs/ that are printed from the code say what the code says."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import typer

from saeattr.cli import app
from saeattr.tables import TABLES

ROOT = Path(__file__).parents[1]
STUDY_FOLDER = runpy.run_path(str(ROOT / "scripts" / "docs" / "study_folder.py"))
GEMMA = runpy.run_path(str(ROOT / "scripts" / "docs" / "gemma.py"))
SAES = runpy.run_path(str(ROOT / "scripts" / "docs" / "saes.py"))
PAGE = (ROOT / "docs" / "study-folder.md").read_text(encoding="utf-8")


def test_the_study_folder_page_is_what_its_script_prints():
    """Else: python scripts/docs/study_folder.py."""
    assert STUDY_FOLDER["page"]() == PAGE


def test_the_page_of_published_saes_is_what_its_script_counts():
    """Else: python scripts/docs/saes.py."""
    assert SAES["page"]() == (ROOT / "docs" / "saes.md").read_text(encoding="utf-8")


def test_the_page_of_the_first_hour_has_the_plan_that_is_printed_now():
    """Else: python scripts/docs/gemma.py."""
    assert GEMMA["page"]() == (ROOT / "docs" / "gemma.md").read_text(encoding="utf-8")


def test_the_page_of_the_first_hour_fills_every_mark():
    assert re.findall(r"\{[a-z]+\}", GEMMA["page"]()) == []


def test_every_command_of_the_first_hour_parses():
    """What stands for a longer command is written (the same)."""
    page = (ROOT / "docs" / "gemma.md").read_text(encoding="utf-8")
    longest = max(re.findall(r"^    saeattr attribute (--topic .+)$", page, flags=re.MULTILINE), key=len)
    found = re.findall(r"^(?:    |\$ )saeattr (.+?)(?:\s+#.*)?$", page, flags=re.MULTILINE)
    found += re.findall(r"[`\"]saeattr (.+?)[`\"]", page)
    assert len(found) >= 8
    for line in found:
        name, *arguments = shlex.split(line.replace("(the same)", longest))
        command = typer.main.get_command(app).commands[name]  # pyright: ignore[reportAttributeAccessIssue]
        assert command.make_context(name, arguments).command is command


def test_every_column_of_every_table_stands_on_the_study_folder_page_in_its_order():
    sections = PAGE.split("\n### ")
    for table in TABLES.values():
        name = "lists/SLUG" if table.name == "lists" else table.name
        (section,) = [part for part in sections if part.startswith(f"{name}.parquet\n")]
        rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
        assert [(row[0].strip("| `"), row[1]) for row in rows] == [(one.name, one.type) for one in table.columns]


def test_every_file_is_named_once_in_the_first_table_of_the_study_folder_page():
    first = PAGE.split("\n\n| table on top")[0]
    names = [line.split("|")[1] for line in first.splitlines() if line.startswith("| `")]
    assert len(names) == len(set(names))


def test_links_between_pages_lead_somewhere():
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        targets = [part.split(")")[0].split("#")[0] for part in page.read_text(encoding="utf-8").split("](")[1:]]
        missing = [name for name in targets if name and "://" not in name and not (page.parent / name).exists()]
        assert not missing, f"{page}: {missing}"


def test_no_mark_is_left_on_the_study_folder_page():
    assert not [mark for mark in ("{tables}", "{stages}", "{joined}", "{may_differ}") if mark in PAGE]
