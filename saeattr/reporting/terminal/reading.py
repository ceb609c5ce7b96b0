"""Entropy and logit lens in the terminal: what the rows say, group by group, and where the files are."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeattr.reading.layers import lens_onsets
from saeattr.reporting.figures.style import show_token
from saeattr.reporting.readings import (
    ending_text,
    lens_line,
    main_role,
    n_pairs_of,
    rise_lines,
    run_words,
)
from saeattr.reporting.terminal.study import GROUPS_IN_FULL, study_console
from saeattr.study.results import Study

#: Named in place of one group.
ALL = "all groups"


def print_entropy(study: Study, console: Console | None = None) -> None:
    """Print the entropy by position of each group (of all together, if many), and where endings set in."""
    console = console or study_console()
    rows, onsets, words = study.entropy(), study.entropy_onset(), run_words(study)
    for name, own in _shown(rows, study):
        known = onsets[onsets["group"].isin(own["group"].unique())]
        console.print(entropy_table(own, name, words))
        role = main_role(own)
        of_role = known[known["role"] == role]
        for line in (*(rise_lines(of_role, words) if len(of_role) else ()), ending_text(of_role)):
            if line:
                console.print(f"{escape(name)}, {escape(role)}: {line}", highlight=False)
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
    rows = study.logit_lens()
    labels = dict(study.lens_onset()[["direction", "label"]].drop_duplicates().itertuples(index=False, name=None))
    for name, own in _shown(rows, study):
        onsets = lens_onsets(own, labels, name)
        split = len(onsets["temperature"].drop_duplicates()) > 1
        for (direction, label), of_direction in onsets.groupby(["direction", "label"], sort=False):
            console.print(f"{escape(name)}: {escape(str(direction))}, {escape(str(label))}", highlight=False)
            for row in of_direction.to_dict("records"):
                warm = f"temperature {row['temperature']:g}, " if split else ""
                console.print(f"  {warm}{escape(lens_line(row))}", highlight=False)
        if onsets.empty:
            console.print(f"{escape(name)}: no pair has two spans of a role, or two runs, to compare", highlight=False)
    _print_files(study, console, "lens")


def _shown(rows: pd.DataFrame, study: Study) -> list[tuple[str, pd.DataFrame]]:
    """Each group's rows under its name; with many groups those of all."""
    there = [group for group in study.groups if (rows["group"] == group).any()]
    if len(there) > GROUPS_IN_FULL:
        return [(ALL, rows)]
    return [(show_token(group, 30), rows[rows["group"] == group]) for group in there]


def _print_files(study: Study, console: Console, what: str) -> None:
    for warning in study.warnings:
        console.print(f"[yellow]note[/] {escape(warning)}")
    console.print(f"tables   {escape(str(study.folder.root))}/*.parquet", highlight=False)
    drawn = [path for path in study.figures if path.name.startswith(what)]
    for path in drawn[:4]:
        console.print(f"figure   {escape(str(path))}", highlight=False)
    if len(drawn) > 4:
        console.print(f"         and {len(drawn) - 4} more of single groups", highlight=False)
