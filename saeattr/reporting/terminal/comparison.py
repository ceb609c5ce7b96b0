"""A comparison of two models in the terminal: the most changed features, exact changes, and where the change begins."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeattr.comparison.results import Comparison
from saeattr.reporting.numbers import MISSING, interval_text, median_text, q_text, share_text
from saeattr.reporting.terminal.console import study_console
from saeattr.tables import row_address, row_site
from saeattr.validation.evidence import ALPHA

ESTIMATED = (
    "effects: estimates, median over pairs; change: B minus A; through activations, through the slope: parts of the "
    "mean change; q: over all features compared"
)
MEASURED = (
    "on pairs that did not rank the change; through activations: the rest is made by the layers above; controls: x "
    "moved as far in both models along other features, whose effect changes as much"
)
SITES = (
    "activations: |f_B - f_A| / |f_A|; parts: sums over features of |mean change of the estimate|; undone: share of "
    "the metric's change from A to B that is taken back when B is given A's activation there"
)


def print_comparison(found: Comparison, top: int, console: Console | None = None) -> None:
    """Print the sites, the ``top`` changed features of each group, the exact changes, and the files."""
    console = console or study_console()
    console.print(f"A: {escape(found.a)}\nB: {escape(found.b)}", highlight=False)
    for group in dict.fromkeys(found.sites["group"]):
        console.print(_sites(found.sites[found.sites["group"] == group], group))
        console.print(
            f"{escape(group)}: {where_it_begins(found.sites[found.sites['group'] == group])}", highlight=False
        )
        console.print(_changes(found.changes[found.changes["group"] == group].head(top), group))
        tests = found.tests[found.tests["group"] == group]
        if len(tests):
            console.print(_tests(tests, group))
    changed = int((found.changes["q_value"] <= ALPHA).sum())
    console.print(f"{changed} of {len(found.changes)} estimated effects changed (q <= {ALPHA:g})", highlight=False)
    if len(found.tests):
        counted = found.tests["verdict"].value_counts()
        said = ", ".join(f"{count} {name}" for name, count in counted.items())
        console.print(f"exact effects of {len(found.tests)} features: {said}", highlight=False)
    for note in found.notes:
        console.print(f"[yellow]note[/] {escape(note)}")
    console.print(f"written  {escape(str(found.folder))}", highlight=False)


def where_it_begins(sites: pd.DataFrame) -> str:
    """The first site, in the model's order, at which the activations differ."""
    rows = sorted(sites.to_dict("records"), key=lambda row: row_site(row).order)
    differ = [row_site(row) for row in rows if row["activation_change"] > 0]
    if not differ:
        return "no activation differs at any compared site"
    before = sum(row_site(row) < differ[0] for row in rows)
    if not before:
        return f"activations differ from the first compared site on ({differ[0]})"
    equal = f"the first {before} compared sites" if before > 1 else "the first compared site"
    return f"activations are equal at {equal} and differ from {differ[0]} on"


def _table(title: str, caption: str, words: str, numbers: tuple[str, ...]) -> Table:
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    table.add_column(words, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _sites(rows: pd.DataFrame, group: str) -> Table:
    names = ("features", f"q <= {ALPHA:g}", "activations", "through activations", "through the slope", "undone")
    table = _table(f"{escape(group)}: change by site", SITES, "site", names)
    for row in sorted(rows.to_dict("records"), key=lambda row: row_site(row).order):
        known = not pd.isna(row["taken_back"])
        table.add_row(
            str(row_site(row)),
            str(row["n_features"]),
            str(row["n_changed"]),
            MISSING if pd.isna(row["activation_change"]) else f"{row['activation_change']:.3g}",
            f"{row['activation_part']:.3f}",
            f"{row['slope_part']:.3f}",
            share_text(row["taken_back"]) if known else "not measured",
        )
    return table


def _changes(rows: pd.DataFrame, group: str) -> Table:
    names = ("in A", "in B", "change median [95 %]", "through activations", "through the slope", "q")
    table = _table(f"{escape(group)}: most changed estimated effects", ESTIMATED, "site/feature", names)
    for row in rows.to_dict("records"):
        table.add_row(
            row_address(row),
            f"{row['effect_a']:+.3f}",
            f"{row['effect_b']:+.3f}",
            escape(median_text(row, "change", 3)),
            f"{row['activation_part']:+.3f}",
            f"{row['slope_part']:+.3f}",
            q_text(row["q_value"]),
        )
    return table


def _tests(rows: pd.DataFrame, group: str) -> Table:
    names = ("in A", "in B", "change median [95 %]", "of gap", "through activations", "controls", "q", "verdict")
    table = _table(f"{escape(group)}: exact effects", MEASURED, "site/feature", names)
    for row in rows.to_dict("records"):
        ends = interval_text(row["change_low"], row["change_high"], 3, "too few pairs")
        table.add_row(
            row_address(row),
            f"{row['exact_a']:+.3f}",
            f"{row['exact_b']:+.3f}",
            escape(f"{row['change_median']:+.3f} {ends}"),
            share_text(row["share"]),
            f"{row['activation_part']:+.3f}",
            f"{row['n_as_strong']}/{row['n_controls']}",
            q_text(row["q_value"]),
            row["verdict"],
        )
    return table
