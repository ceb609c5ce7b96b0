"""Pages that several benchmarks write: each replaces its own section, and tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.files import write_text

#: Folder of the long tables, beside the pages that say what they mean.
MEASURED = "measured"


def replace_section(path: Path, name: str, lines: Sequence[str]) -> None:
    """Put ``lines`` between the section's markers; a new section goes to the end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = "\n".join([begin, "", *lines, "", end])
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(text):
        text = pattern.sub(lambda found: section, text)
    else:
        text = f"{text.rstrip()}\n\n{section}\n".lstrip()
    write_text(path, text)


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown; floats with three decimals."""

    def cell(value: Any) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    head = "| " + " | ".join(str(name) for name in table.columns) + " |"
    body = ["| " + " | ".join(cell(value) for value in row.values()) + " |" for row in table.to_dict("records")]
    return "\n".join([head, "|" + " ---: |" * len(table.columns), *body])
