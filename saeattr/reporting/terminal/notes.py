"""What a reader of a study should know, in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from saeattr.study.results import Study

#: Lines that are printed; a study of hundreds of groups may have hundreds.
SHOWN = 30


def print_notes(study: Study, console: Console) -> None:
    """Print the first notes, and where the others stand."""
    for line in study.warnings[:SHOWN]:
        console.print(f"[yellow]note[/] {escape(line)}")
    more = len(study.warnings) - SHOWN
    if more > 0:
        console.print(f"[yellow]note[/] and {more} more: {escape(str(study.folder.notes_path))}, and report.html")
