"""Entropy and logit lens in the terminal: what the rows say, group by group, and where the files are."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeattr.reporting.lines import GROUPS_IN_FULL
from saeattr.reporting.readings import entropy_lines, lens_labels, lens_lines, n_pairs_of, named_rows, run_words
from saeattr.reporting.terminal.console import study_console
from saeattr.reporting.terminal.notes import print_notes
from saeattr.study.results import Study


def print_entropy(study: Study, console: Console | None = None) -> None:
    """Print the entropy by position of each group (of all together, if many), and where endings set in."""
    console = console or study_console()
    rows, onsets, words = study.entropy(), study.entropy_onset(), run_words(study)
    for name, own in named_rows(rows, study, GROUPS_IN_FULL):
        console.print(entropy_table(own, name, words))
        for line in entropy_lines(own, onsets, name, words):
            console.print(escape(line), highlight=False)
        console.print()
    _print_files(study, console, "entropy")


def entropy_table(rows: pd.DataFrame, name: str, words: dict[str, str]) -> Table:
    """Mean entropy at the first and the last span of each role, in every cell that was read."""
    table = Table(
        title=f"{escape(name)}: entropy of the next token in nats, mean",
        caption="at the last token of the first and the last span of each role",
        title_justify="left",
        caption_justify="left",
    )
    for column in ("role", "written to", "read under"):
        table.add_column(column)
    for column in ("pairs", "first", "last"):
        table.add_column(column, justify="right")
    for (role, written, read), own in rows.groupby(["role", "written", "read"], sort=False):
        first = own.loc[own["number"] == 1, "entropy"].mean()
        last = own.loc[own["from_end"] == 0, "entropy"].mean()
        cells = [str(role), words[str(written)], words[str(read)], str(n_pairs_of(own)), f"{first:.3f}", f"{last:.3f}"]
        table.add_row(*map(escape, cells))
    return table


def print_lens(study: Study, console: Console | None = None) -> None:
    """Print in which layers each direction appears, a line for each comparison."""
    console = console or study_console()
    rows, labels = study.logit_lens(), lens_labels(study)
    for name, own in named_rows(rows, study, GROUPS_IN_FULL):
        for line in lens_lines(own, labels, name):
            console.print(escape(line), highlight=False)
    _print_files(study, console, "lens")


def _print_files(study: Study, console: Console, what: str) -> None:
    print_notes(study, console)
    console.print(f"tables   {escape(str(study.folder.root))}/*.parquet", highlight=False)
    drawn = [path for path in study.figures if path.name.startswith(what)]
    for path in drawn[:4]:
        console.print(f"figure   {escape(str(path))}", highlight=False)
    if len(drawn) > 4:
        console.print(f"         and {len(drawn) - 4} more of single groups", highlight=False)
