"""What a recall study found, in the terminal: the same lines as in its report."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from saeattr.reporting.lines import part_lines
from saeattr.reporting.terminal.console import study_console
from saeattr.reporting.terminal.notes import print_notes
from saeattr.study.results import Study


def print_recall_study(study: Study, console: Console | None = None) -> None:
    """Print what was found of recall, and where the tables, figures and report lie."""
    console = console or study_console()
    for line in part_lines(study).get("recall", []):
        console.print(line, highlight=False, markup=False)
    for line in study.choice:
        console.print(escape(line), highlight=False)
    print_notes(study, console)
    console.print(f"written  {escape(str(study.folder.root))}", highlight=False, soft_wrap=True)
