"""docs/study-folder.md from its hand-written part and the schema of every table.

    python scripts/docs/study_folder.py        # writes the page; tests/test_docs.py says when it is out of date

study_folder.md beside this file has the text. In it {tables}, {stages}, {joined} and {may_differ} stand for what the
code knows: the columns of ``saeattr.tables``, the tables of each stage, and the settings that do not identify a study.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from saeattr.files import write_text
from saeattr.settings import StudySettings, identifies
from saeattr.study.run import STAGES
from saeattr.study.stage import WHOLE, Stage
from saeattr.tables import (
    BESIDE,
    COMPARISON,
    FIRING,
    LIST_EXCEPTIONS,
    LISTS,
    OVERLAP,
    RECALL,
    RECALL_COMPARISON,
    RECALLED,
    TABLES,
    Table,
)

TEXT = Path(__file__).with_suffix(".md")
PAGE = Path(__file__).parents[2] / "docs" / "study-folder.md"


def page() -> str:
    """The whole page."""
    parts = {
        "{tables}": "\n\n".join(section(table) for table in TABLES.values()),
        "{stages}": "\n".join(stage_rows()),
        "{joined}": "\n".join(f"| `{table.name}.parquet` | {table.row} |" for table in joined_tables()),
        "{may_differ}": ", ".join(option(name) for name in StudySettings.model_fields if not identifies(name)),
    }
    text = TEXT.read_text(encoding="utf-8")
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


def section(table: Table) -> str:
    """One table: where it is, what a row is, its columns."""
    lines = [f"### {file_name(table)}", "", f"{where(table)} One row: {table.row}."]
    lines += ["", table.note] if table.note else []
    lines += ["", "| column | type | meaning | unit |", "| --- | --- | --- | --- |"]
    for column in table.columns:
        lines.append(f"| `{column.name}` | {column.type} | {in_cell(column.meaning)} | {column.unit} |")
    return "\n".join(lines)


def file_name(table: Table) -> str:
    return "lists/SLUG.parquet" if table == LISTS else f"{table.name}.parquet"


def folder(stage: type[Stage]) -> str:
    """Of a group's part, or of one of its variants."""
    part = WHOLE if stage.of_all else "SLUG"
    return f"{stage.name}/VARIANT/{part}/" if stage.has_variants else f"{stage.name}/{part}/"


def where(table: Table) -> str:
    """The folders that have the table, as a sentence."""
    for stage in STAGES:
        if table in (*stage.joined, *stage.kept):
            part = f"`{folder(stage)}`"
            return f"In {part}, joined on top." if table in stage.joined else f"In {part} only."
    if table in COMPARISON:
        return "In the folder of a comparison (`saeattr compare`), not in a study's."
    if table == BESIDE:
        return "Where `saeattr recall beside --out FOLDER` says, not in a study's folder."
    if table in RECALL:
        return "In the folder of `saeattr recall triage`, not in a study's; there as `.csv` too."
    if table in RECALLED:
        return "In the folder `recall/` of the study that `saeattr recall run` makes; there as `.csv` too."
    if table in RECALL_COMPARISON:
        return "In the folder of `saeattr recall compare`, not in a study's; there as `.csv` too."
    if table == FIRING:
        return "Where `saeattr look --table FILE` says, not in a study's folder."
    if table == LIST_EXCEPTIONS:
        return "In the folder of `saeattr lists stats --out FOLDER`, beside the three above, not in a study's."
    return "Kept by the behaviour lists." if table == LISTS else "On top."


def joined_tables() -> Sequence[Table]:
    return [table for table in TABLES.values() if table == OVERLAP or any(table in stage.joined for stage in STAGES)]


def stage_rows() -> Sequence[str]:
    rows = []
    for stage in STAGES:
        meaning = (stage.__doc__ or "").splitlines()[0]
        tables = ", ".join(f"`{table.name}`" for table in (*stage.joined, *stage.kept))
        rows.append(f"| `{folder(stage)}` | {meaning} | {tables} |")
    return rows


def option(name: str) -> str:
    return f"`--{name.replace('_', '-')}`"


def in_cell(text: str) -> str:
    """A bar would end the cell."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write_text(PAGE, page())
    print(PAGE)
