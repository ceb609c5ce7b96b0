"""Ablation while generating in the terminal: how many items the lists have, condition by condition."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from saeattr.generation.summary import CONDITION_WORDS
from saeattr.reporting.figures.style import show_token
from saeattr.reporting.numbers import interval_text, span_text
from saeattr.sites import Site
from saeattr.tables import GROUP_SITE


def generation_tables(rows: pd.DataFrame) -> list[Table]:
    """One table of every condition for one number of features, or the grid of several."""
    return [grid_table(rows) if len(set(rows["n_features"])) > 1 else generation_table(rows)]


def grid_table(rows: pd.DataFrame) -> Table:
    """Items that the features add, and their controls, by site and number of features.

    Args:
        rows: ``tables.GENERATION``.
    """
    items = rows[rows["measure"] == "items"]
    ended = rows[(rows["measure"] == "ended") & (rows["condition"] == "features")]
    least = float(ended["mean"].min())
    cut = f"; * of these lists some were cut off (up to {1 - least:.0%}): at least so many" if least < 1 else ""
    table = Table(
        title=f"ablation while generating: items added to a list, mean over {span_text(items['n_lists'])} lists",
        caption=f"n features held at their base [95 % interval], and controls of equal length{cut}",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("group, site")
    table.add_column("nothing", justify="right")
    sizes = sorted(items["n_features"].unique())
    for size in sizes:
        table.add_column(f"{size} feature{'s' if size > 1 else ''}", justify="right")
        table.add_column("controls", justify="right")
    was_cut = set(ended.loc[ended["mean"] < 1].set_index([*GROUP_SITE, "n_features"]).index)
    for (group, layer, kind), own in items.groupby(GROUP_SITE, sort=False):
        found = {(row["condition"], row["n_features"]): row for row in own.to_dict("records")}
        cells = [f"{own.loc[own['condition'] == 'nothing', 'mean'].iloc[0]:.1f}"]
        for size in sizes:
            star = "*" if (group, layer, kind, size) in was_cut else ""
            features, controls = found.get(("features", size)), found.get(("controls", size))
            cells.append(f"{_added(features)}{star}" if features else "")
            cells.append(f"{controls['added']:+.1f}" if controls else "")
        name = f"{show_token(str(group), 24)} {Site(kind, layer)}"
        table.add_row(escape(name), *map(escape, cells))
    return table


def _added(row: Mapping[Hashable, Any]) -> str:
    return f"{row['added']:+.1f} {interval_text(row['added_low'], row['added_high'], 1)}"


def generation_table(rows: pd.DataFrame) -> Table:
    """What lists became under ablation: items, and what each condition adds to nothing, by group and site.

    Args:
        rows: ``tables.GENERATION``.
    """
    items = rows[rows["measure"] == "items"]
    table = Table(
        title=f"ablation while generating: items in a list, mean over {span_text(items['n_lists'])} lists",
        caption=_caption(items),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("group, site")
    conditions = list(dict.fromkeys(map(str, items["condition"])))
    for condition in conditions:
        table.add_column(CONDITION_WORDS.get(condition, condition), justify="right")
    for (group, layer, kind), own in items.groupby(GROUP_SITE, sort=False):
        cells = {row["condition"]: _cell(row) for row in own.to_dict("records")}
        name = f"{show_token(str(group), 24)} {Site(kind, layer)}"
        table.add_row(escape(name), *(escape(cells.get(condition, "")) for condition in conditions))
    return table


def _caption(items: pd.DataFrame) -> str:
    """What the brackets hold, and how far controls moved x in comparison."""
    said = "in brackets: what is added to lists with nothing ablated [95 % interval]"
    reached = span_text(items.loc[items["condition"] == "controls", "length_ratio"], ".2f")
    return said + (f"; controls moved x {reached} times as far as the features would have" if reached else "")


def _cell(row: Mapping[Hashable, Any]) -> str:
    """``12.0 (+7.0 [+5.1, +8.9])``."""
    mean = f"{row['mean']:.1f}"
    if row["condition"] == "nothing":
        return mean
    return f"{mean} ({_added(row)})"
