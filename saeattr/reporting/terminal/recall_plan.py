"""The memory plan of a recall study on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from saeattr.reporting.terminal.console import open_console
from saeattr.runs.memory import megabytes
from saeattr.study.recall.memory import RecallPlan

HELD = {
    "weights": "resident",
    "captured": "while a batch is patched: its runs at every component",
    "working": "while a batch runs forward",
    "patched": "while patched copies run, and the whole vocabulary is read (in place of working)",
}


def print_recall_plan(plan: RecallPlan, console: Console | None = None) -> None:
    """Print what each part needs, and the peak."""
    title = f"{plan.n_facts} facts of at most {plan.length} tokens, {plan.batch_size} in a batch, {plan.copies} copies"
    table = Table(title=title, title_justify="left")
    table.add_column("part")
    table.add_column("needs", justify="right")
    table.add_column("held")
    for part, held in HELD.items():
        table.add_row(part, megabytes(getattr(plan, part)), held)
    limit = "no limit given" if plan.budget is None else f"{megabytes(plan.budget)} allowed"
    table.add_row("[bold]peak[/]", f"[bold]{megabytes(plan.peak)}[/]", limit)
    if plan.download:
        table.add_row("download", megabytes(plan.download), "from the hub, once")
    (console or open_console()).print(table)
