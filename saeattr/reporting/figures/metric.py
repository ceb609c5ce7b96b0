"""The metric at the decision points, clean against corrupted: does the model see what is coming, in which run?"""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.reporting.figures.style import CLEAN, CORRUPTED, PALETTE, figure_text, house_style, new_figure, show_token
from saeattr.reporting.numbers import pairs_text
from saeattr.stats import mean_interval

#: A point is drawn where at least so many pairs reach it.
FEWEST_PAIRS = 2
RUNS = (("clean", CLEAN), ("corrupted", CORRUPTED))
#: Letters of a title in an inch.
LETTERS = 12
#: Groups are told apart up to so many.
COLOURED = 10


def metric_by_point(table: pd.DataFrame, name: str, metric_label: str) -> Figure:
    """What the metric is: along the decision points or, where every pair has just one, pair by pair.

    ``table``: group, pair_id, point, n_points, run (clean, and corrupted where there is one), metric.
    """
    table = table.assign(from_last=table["point"] - table["n_points"], key=_keys(table))
    with house_style():
        if int(table["n_points"].max()) > 1:
            figure = _curves(table, metric_label)
        elif (table["run"] == "corrupted").any():
            figure = _run_against_run(table, metric_label)
        else:
            figure = _spread(table, metric_label)
        title = textwrap.fill(f"{name}: {_finding(table)}", int(LETTERS * figure.get_figwidth()))
        figure.suptitle(figure_text(title), x=0.01, ha="left", fontsize=10)
    return figure


def _finding(table: pd.DataFrame) -> str:
    """The mean in each run at the last point."""
    means = table[table["from_last"] == 0].groupby("run")["metric"].mean()
    where = "at the last decision point" if int(table["n_points"].max()) > 1 else "at the decision point"
    against = f" against {means['corrupted']:+.2f} (corrupted)" if "corrupted" in means else ""
    n_pairs = table["key"].nunique()
    return (
        f"{where} {means['clean']:+.2f} (clean){against}, {'one pair' if n_pairs == 1 else f'mean of {_pairs(table)}'}"
    )


def _pairs(table: pd.DataFrame) -> str:
    return pairs_text([table["key"].nunique()])


def _keys(table: pd.DataFrame) -> pd.Series:
    """Pairs are named within a group."""
    return table["group"].astype(str) + "\x1f" + table["pair_id"].astype(str)


def _curves(table: pd.DataFrame, metric_label: str) -> Figure:
    """Mean metric with Student's 95 % bands over pairs: counted from the first point, and from the last."""
    figure = new_figure(8.4, 3.6)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, column in ((left, "point"), (right, "from_last")):
        for run, colour in RUNS:
            rows = table[table["run"] == run]
            if len(rows):
                _curve(axes, rows, column, colour, run)
        axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    left.set_xlabel("decision point")
    right.set_xlabel("decision points counted from the last (0 = last)")
    left.set_ylabel(figure_text(metric_label))
    left.legend(frameon=False, title=f"mean of {_pairs(table)}, 95 %", title_fontsize=8)
    return figure


def _curve(axes: Axes, rows: pd.DataFrame, column: str, colour: str, label: str) -> None:
    grid = rows.pivot(index=column, columns="key", values="metric").sort_index()
    counts = grid.notna().sum(axis=1)
    reached = grid[counts >= min(FEWEST_PAIRS, int(counts.max()))]
    low, high = [], []
    for _, values in reached.iterrows():
        # Each point has its own set of pairs.
        one_low, one_high = mean_interval(values.dropna().to_numpy(dtype=float)[None])
        low.append(one_low[0])
        high.append(one_high[0])
    at = reached.index.to_numpy()
    axes.plot(at, reached.mean(axis=1), color=colour, marker="o", markersize=3, label=label)
    axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)


def _run_against_run(table: pd.DataFrame, metric_label: str) -> Figure:
    """A dot a pair, corrupted run against clean run: below the diagonal the corruption lowers the metric."""
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    grid = table.pivot(index=["group", "key"], columns="run", values="metric")
    groups = list(dict.fromkeys(table["group"]))
    told_apart = 1 < len(groups) <= COLOURED
    for at, group in enumerate(groups):
        own = grid.loc[group]
        colour, label = PALETTE[at] if told_apart else CLEAN, figure_text(show_token(group, 30))
        axes.scatter(own["clean"], own["corrupted"], s=22, alpha=0.8, linewidth=0, color=colour, label=label)
    axes.axline((0, 0), slope=1, color="0.6", linewidth=0.8, zorder=0, label="equal")
    axes.axhline(0, color="0.85", linewidth=0.8, zorder=-1)
    axes.axvline(0, color="0.85", linewidth=0.8, zorder=-1)
    for name, set_limits in (("clean", axes.set_xlim), ("corrupted", axes.set_ylim)):
        low, high = min(0.0, grid[name].min()), max(0.0, grid[name].max())
        set_limits(low - 0.06 * (high - low), high + 0.06 * (high - low))
    axes.set_xlabel(figure_text(f"clean run: {metric_label}"))
    axes.set_ylabel("corrupted run")
    handles, labels = axes.get_legend_handles_labels()
    shown = range(len(labels)) if told_apart else [len(labels) - 1]
    axes.legend([handles[at] for at in shown], [labels[at] for at in shown], frameon=False, fontsize=8)
    return figure


def _spread(table: pd.DataFrame, metric_label: str) -> Figure:
    """How many pairs have which metric, where there is no other run to compare with."""
    figure = new_figure(6.4, 3.2)
    axes = figure.subplots()
    axes.hist(table["metric"], bins=min(30, max(5, len(table) // 3)), color=CLEAN)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_xlabel(figure_text(metric_label))
    axes.set_ylabel("pairs")
    return figure
