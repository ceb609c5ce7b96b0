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
    return f"{mean} ({row['added']:+.1f} {interval_text(row['added_low'], row['added_high'], 1)})"
