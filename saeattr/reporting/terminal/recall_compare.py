"""Two recall studies beside each other, in the terminal."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeattr.recall.phases.compare import DIRECTION, RecallComparison
from saeattr.reporting.numbers import interval_text
from saeattr.reporting.terminal.console import study_console

CAPTION = (
    "depth: layers passed / number of layers; of the whole in [95 %] by bootstrap over facts; *: the difference's "
    "interval leaves out 0; (grid): it is smaller than a layer of the shallower model, so depths cannot tell"
)
#: Depths at which the curves are printed.
PRINTED = (0.0, 0.25, 0.5, 0.75, 1.0)


def print_recall_comparison(found: RecallComparison, console: Console | None = None) -> None:
    """Print every number of both with the difference, and the curves at a few depths."""
    console = console or study_console()
    counts = found.rows.iloc[0]
    for letter, name, layers, facts in (
        ("A", found.a, found.n_layers[0], counts["n_a"]),
        ("B", found.b, found.n_layers[1], counts["n_b"]),
    ):
        console.print(f"{letter}: {escape(name)}, {layers} layers, {facts} facts", highlight=False)
    console.print(f"{counts['n_shared']} facts are in both, and are drawn together", highlight=False)
    table = Table(caption=CAPTION, caption_justify="left")
    for name in ("measure", "of"):
        table.add_column(name, overflow="fold")
    for name in ("A", "B", "B - A"):
        table.add_column(name, justify="right")
    for row in found.rows.to_dict("records"):
        cells = [_cell(row, name) for name in ("a", "b")]
        table.add_row(escape(f"{row['measure']} ({row['unit']})"), row["of"], *cells, _difference(row, found.n_layers))
    console.print(table)
    console.print(_curve_table(found.curves))
    if found.folder is not None:
        console.print(f"written  {escape(str(found.folder))}", highlight=False, soft_wrap=True)


def _cell(row: Mapping[Hashable, Any], name: str) -> str:
    ends = interval_text(row[f"{name}_low"], row[f"{name}_high"]).replace("+", "")
    return escape(f"{row[name]:.2f} {ends}")


def _difference(row: Mapping[Hashable, Any], n_layers: tuple[int, int]) -> str:
    """With a star where it is not 0, and a word where layers are too coarse to tell."""
    ends = interval_text(row["difference_low"], row["difference_high"])
    differs = row["difference_low"] > 0 or row["difference_high"] < 0
    coarse = row["unit"] == "depth" and n_layers[0] != n_layers[1] and abs(row["difference"]) < 1 / min(n_layers)
    return escape(f"{row['difference']:+.2f} {ends}{' (grid)' if coarse else '*' if differs else ''}")


def _curve_table(curves: pd.DataFrame) -> Table:
    """The stream at both places at a few depths, noising."""
    table = Table(title=f"{DIRECTION}, resid_pre: share of the swing by depth, A | B", title_justify="left")
    table.add_column("place")
    for depth in PRINTED:
        table.add_column(f"{depth:g}", justify="right")
    for place, own in curves[curves["direction"] == DIRECTION].groupby("place", sort=False):
        cells = []
        for depth in PRINTED:
            row = own.loc[(own["depth"] - depth).abs().idxmin()]
            cells.append(f"{row['share_a']:.2f} | {row['share_b']:.2f}")
        table.add_row(str(place), *cells)
    return table
