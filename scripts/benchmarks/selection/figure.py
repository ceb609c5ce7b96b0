"""docs/selection.png: the share of the oracle by budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmarks.selection.rules import ALL, HALF, OFFERS, OURS, best_simple, interval, mean_shares
from saeattr.files import replacing
from saeattr.reporting.figures.style import house_style, new_figure

COLOURS = {
    OURS: "#000000",
    "gradient only": "#0173b2",
    "ablation only": "#de8f05",
    "lens only": "#cc78bc",
    "evenly spaced": "#029e73",
    "last layers": "#d55e00",
    "random": "#949494",
}


def draw(kept: pd.DataFrame, out: Path) -> None:
    """Share by budget, one line a rule, one panel an offer; bars from the 10th to the 90th percentile over topics."""
    half = interval(kept, ALL, OURS, HALF[ALL])[0]
    means = mean_shares(kept, ALL)
    best = best_simple(means)
    with house_style():
        figure = new_figure(10.5, 4.4)
        for axes, offer in zip(figure.subplots(1, len(OFFERS), sharey=True), OFFERS, strict=True):
            panel(axes, kept[kept["offer"] == offer], OFFERS[offer][1])
            axes.set_title(f"{offer} on offer")
            axes.set_xlabel("budget (sites)")
        figure.axes[0].set_ylabel("share of the oracle's value")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=len(COLOURS), frameon=False)
        figure.suptitle(
            f"With 9 of 18 sites our score keeps {half:.0%} of the oracle's value; over all budgets {means[OURS]:.1%}, "
            f"the best simple rule ({best}) {means[best]:.1%}\n"
            f"Means and 10th to 90th percentile over {kept['group'].nunique()} topics that chose no weight",
            x=0.01,
            ha="left",
            fontsize=10,
        )
        with replacing(out / "selection.png") as temporary:
            figure.savefig(temporary, format="png", dpi=110)


def panel(axes: Axes, kept: pd.DataFrame, budgets: tuple[int, ...]) -> None:
    width = 0.011 * (budgets[-1] - budgets[0])
    for at, (rule, colour) in reversed(list(enumerate(COLOURS.items()))):
        table = kept[kept["rule"] == rule].pivot(index="group", columns="n_sites", values="share").to_numpy()
        low, high = np.quantile(table, [0.1, 0.9], axis=0)
        # Side by side, so that no bar hides another.
        x = np.array(budgets) + width * (at - (len(COLOURS) - 1) / 2)
        style = "-" if rule in (OURS, "gradient only", "ablation only", "lens only") else "--"
        line = {"linewidth": 2 if rule == OURS else 1.2, "linestyle": style, "color": colour}
        axes.plot(x, table.mean(0), marker="o", markersize=4, label=rule, **line)
        axes.vlines(x, low, high, color=colour, linewidth=1, alpha=0.5)
    axes.axhline(1, color="0.85", linewidth=0.8, zorder=0)
    axes.set_xticks(budgets)
    axes.set_ylim(0, 1.04)
