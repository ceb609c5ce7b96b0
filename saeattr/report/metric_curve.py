"""The metric along the list, clean against corrupted: does the model see the end coming, and does " long" hide it?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.analysis.spread import bootstrap_interval
from saeattr.report.labels import figure_text
from saeattr.report.style import CLEAN, CORRUPTED, house_style, new_figure

#: A point is drawn where at least so many lists reach it.
FEWEST_LISTS = 2


def metric_by_item(table: pd.DataFrame, name: str, metric_label: str) -> Figure:
    """Mean metric by item with 95 % bootstrap bands over lists: counted from the first item, and from the last.

    ``table``: list_id, item, n_items, run (clean or corrupted), metric.
    """
    table = table.assign(from_last=table["item"] - table["n_items"], key=_keys(table))
    last = table[table["from_last"] == 0]
    means = last.groupby("run")["metric"].mean()
    n_lists = table["key"].nunique()
    with house_style():
        figure = new_figure(8.4, 3.6)
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, column in ((left, "item"), (right, "from_last")):
            for run, colour in (("clean", CLEAN), ("corrupted", CORRUPTED)):
                _curve(axes, table[table["run"] == run], column, colour, run)
            axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        left.set_xlabel("item")
        right.set_xlabel("items after the last (0 = last)")
        left.set_ylabel(figure_text(metric_label))
        left.legend(frameon=False, title=f"mean of {n_lists} lists, 95 %", title_fontsize=8)
        figure.suptitle(
            figure_text(
                f"{name}: after the last item {means['clean']:+.2f} (clean) "
                f"against {means['corrupted']:+.2f} (corrupted)"
            ),
            x=0.01,
            ha="left",
            fontsize=10,
        )
    return figure


def _keys(table: pd.DataFrame) -> pd.Series:
    """Lists are numbered within a topic."""
    return table["topic"].astype(str) + "\x1f" + table["list_id"].astype(str)


def _curve(axes: Axes, rows: pd.DataFrame, column: str, colour: str, label: str) -> None:
    grid = rows.pivot(index=column, columns="key", values="metric").sort_index()
    counts = grid.notna().sum(axis=1)
    reached = grid[counts >= min(FEWEST_LISTS, int(counts.max()))]
    low, high = [], []
    for _, values in reached.iterrows():
        # Each point has its own set of lists, so each is resampled by itself.
        one_low, one_high = bootstrap_interval(values.dropna().to_numpy(dtype=float)[None], seed=0)
        low.append(one_low[0])
        high.append(one_high[0])
    at = reached.index.to_numpy()
    axes.plot(at, reached.mean(axis=1), color=colour, marker="o", markersize=3, label=label)
    axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
