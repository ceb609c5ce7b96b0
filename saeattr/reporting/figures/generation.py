"""What ablation while generating makes of the lists, condition by condition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.generation.summary import CONDITION_WORDS, CONDITIONS
from saeattr.reporting.figures.style import figure_text, house_style, new_figure
from saeattr.reporting.numbers import interval_text, span_text

LABELS = {
    "items": "items",
    "tokens": "tokens",
    "repeated": "repeated items",
    "shannon": "Shannon index (nats)",
    "ended": "share of lists that end",
}
COLOURS = {"nothing": "0.45", "features": "#d55e00", "controls": "#0173b2", "steering": "#029e73"}


def generation_figure(summary: pd.DataFrame, measures: Sequence[str] = tuple(LABELS)) -> Figure:
    """Mean and 95 % interval of each measure, one panel each, one line for each group, site and base.

    ``summary``: ``tables.GENERATION``.
    """
    names = summary["group"] + "  " + summary["kind"] + "." + summary["layer"].astype(str) + "  " + summary["base"]
    summary = summary.assign(line=names)
    lines = list(dict.fromkeys(names))
    with house_style():
        figure = new_figure(2.3 * len(measures) + 1.6, 1.5 + 0.55 * len(lines))
        grid = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        for axes, measure in zip(grid, measures, strict=True):
            _panel(axes, summary[summary["measure"] == measure], lines)
            axes.set_xlabel(LABELS[measure])
        grid[0].set_yticks(np.arange(len(lines)), [figure_text(line) for line in lines])
        grid[0].invert_yaxis()
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        figure.suptitle(figure_text(_title(summary)), x=0.01, ha="left", fontsize=10)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, lines: list[str]) -> None:
    present = [name for name in CONDITIONS if name in set(rows["condition"])]
    for nth, condition in enumerate(present):
        own = rows[rows["condition"] == condition].set_index("line").reindex(lines)
        at = np.arange(len(lines)) + 0.16 * (nth - (len(present) - 1) / 2)
        mean = own["mean"].to_numpy(dtype=float)
        reach = np.stack([mean - own["low"].to_numpy(dtype=float), own["high"].to_numpy(dtype=float) - mean])
        look = {"fmt": "o", "markersize": 4, "color": COLOURS[condition]}
        # A single list has a point without an interval.
        axes.errorbar(mean, at, xerr=reach, label=_name(own, condition), **look)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


def _name(own: pd.DataFrame, condition: str) -> str:
    """A condition in the legend; controls with the length that they reached."""
    name = CONDITION_WORDS.get(condition, condition)
    return f"{name} (ratio {span_text(own['length_ratio'], '.2f')})" if condition == "controls" else name


def _title(summary: pd.DataFrame) -> str:
    """The largest change of the number of items by the features, and what the controls do there."""
    items = summary[(summary["measure"] == "items")].set_index(["line", "condition"])
    features = items.xs("features", level="condition")
    line = features["added"].abs().idxmax()
    best = features.loc[line]
    title = f"{line}: ablating the features adds {_interval(best)} items to a list"
    if (line, "controls") in items.index:
        title += f", controls of equal length {_interval(items.loc[(line, 'controls')])}"
    n_lists = span_text(items["n_lists"])
    return f"{title} (mean of {n_lists} list{'' if n_lists == '1' else 's'}, 95 %)"


def _interval(row: pd.Series) -> str:
    return f"{row['added']:+.1f} {interval_text(row['added_low'], row['added_high'], 1)}"
