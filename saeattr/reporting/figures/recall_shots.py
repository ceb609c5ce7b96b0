"""Facts behind others of their relation: probabilities, lens ranks by layer, and the layers that move them."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from saeattr.reporting.figures.style import PALETTE, figure_text, house_style, new_figure
from saeattr.stats import mean_interval

MASSES = {"p_answer": "the right answer", "domain": "any answer of the relation", "p_shown": "an answer that is shown"}
FACT = ["category", "pair_id"]
#: Letters of a title in an inch.
LETTERS = 13


def shot_figure(rows: pd.DataFrame, lens: pd.DataFrame) -> Figure | None:
    """Three panels, few-shot beside zero-shot; None without any fact."""
    if rows.empty:
        return None
    width, counts = 9.6, sorted(rows["shots"].unique())
    with house_style():
        figure = new_figure(width, 3.8)
        left, middle, right = figure.subplots(1, 3)
        _masses(left, rows, counts)
        _ranks(middle, lens, counts)
        n_known = _movers(right, rows, counts)
        means = rows.groupby("shots")["p_answer"].mean()
        text = (
            f"{len(rows) // len(counts)} facts behind {counts[-1]} others of their relation: P(right answer) is "
            f"{means.loc[counts[-1]]:.2f} and was {means.loc[counts[0]]:.2f} behind none; "
            f"{n_known} are known in every prompt"
        )
        figure.suptitle(figure_text(textwrap.fill(text, int(LETTERS * width))), x=0.01, ha="left", fontsize=10)
    return figure


def _masses(axes: Axes, rows: pd.DataFrame, counts: list[int]) -> None:
    for at, (name, words) in enumerate(MASSES.items()):
        values = rows.pivot_table(index=FACT, columns="shots", values=name)[counts].to_numpy().T
        low, high = mean_interval(values)
        mean = values.mean(1)
        place = np.arange(len(counts)) + 0.08 * (at - 1)
        ends = np.nan_to_num(np.array([mean - low, high - mean]))
        axes.errorbar(place, mean, ends, marker="o", markersize=4, color=PALETTE[at], label=words)
    axes.set_xticks(range(len(counts)), list(map(str, counts)))
    axes.set(xlabel="facts shown before", ylabel="probability at the final position", ylim=(-0.03, 1.4))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.legend(frameon=False, fontsize=7, loc="upper left")


def _ranks(axes: Axes, lens: pd.DataFrame, counts: list[int]) -> None:
    for name, style in (("answer_rank", "-"), ("entity_rank", ":")):
        for at, count in enumerate(counts):
            own = lens[lens["shots"] == count]
            mean = 2 ** np.log2(own[name]).groupby(own["layer"]).mean()
            label = f"{name.removesuffix('_rank')}, {count} shown"
            axes.plot(mean.index, mean, style, marker="o", markersize=3, color=PALETTE[at], label=label)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="after layer", ylabel="lens rank, geometric mean")
    axes.legend(frameon=False, fontsize=6.5)


def _movers(axes: Axes, rows: pd.DataFrame, counts: list[int]) -> int:
    """Each fact's centre over layers, behind none and behind others; the number of facts that stay known."""
    table = rows.pivot_table(index=FACT, columns="shots", values="mover_layer")
    stays = rows.groupby(FACT)["known"].all().reindex(table.index)
    own = table[stays.to_numpy(dtype=bool)]
    for at, count in enumerate(counts[1:], 1):
        if len(own):
            axes.scatter(own[counts[0]], own[count], s=10, alpha=0.7, color=PALETTE[at], label=f"{count} shown")
    top = float(np.nanmax(own.to_numpy())) * 1.1 if len(own) else 1.0
    axes.plot((0, top), (0, top), color="0.7", linewidth=0.8, zorder=0)
    axes.set(xlabel="mover layer, none shown", ylabel="mover layer, others shown", xlim=(0, top), ylim=(0, top))
    axes.legend(frameon=False, fontsize=7)
    return len(own)
