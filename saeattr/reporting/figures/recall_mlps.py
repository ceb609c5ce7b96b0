"""MLPs at the final position: how linear they are, which heads they amplify or erase, what their intercepts do."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from saeattr.reporting.figures.style import PALETTE, effect_map, figure_text, house_style, new_figure

#: Ways of making folds, in words.
SPLITS = {"answers": "all relations, new answers", "relations": "new relations", "within": "each relation by itself"}
#: Summands with the largest size that are shown, and letters of a title in an inch.
SHOWN, LETTERS = 16, 13
LIMIT = 0.5


def mlp_figure(fits: pd.DataFrame, weights: pd.DataFrame) -> Figure | None:
    """R2 on held-out facts, MLP by MLP, and the largest coefficients; None without a regression."""
    if fits.empty:
        return None
    own = weights[weights["category"] == ""]
    width = 9.6
    with house_style():
        figure = new_figure(width, 4.4)
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.2))
        there = {split: words for split, words in SPLITS.items() if (fits["split"] == split).any()}
        for at, (split, words) in enumerate(there.items()):
            rows = fits[fits["split"] == split]
            ends = np.array([rows["r2"] - rows["r2_low"], rows["r2_high"] - rows["r2"]]).clip(min=0)
            place = rows["layer"] + 0.14 * (at - 1)
            left.errorbar(place, rows["r2"], ends, fmt="o", markersize=4, color=PALETTE[at], label=words)
        left.axhline(LIMIT, color="0.5", linewidth=0.8, linestyle="--", zorder=0)
        left.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        left.text(0, LIMIT, "above here it would be linear", fontsize=7, color="0.4", va="bottom")
        left.set(xlabel="MLP of layer", ylabel="R2 on held-out facts", ylim=(min(-0.05, fits["r2_low"].min()), 1))
        left.xaxis.get_major_locator().set_params(integer=True)
        left.legend(frameon=False, fontsize=8, loc="upper right")
        _weight_map(right, own)
        best = fits.sort_values("r2").iloc[-1]
        text = (
            f"MLPs as weighted sums of what was written before: R2 is at most {best['r2']:.2f} "
            f"(layer {best['layer']}, {SPLITS[best['split']]}; n = {fits['n_facts'].max()} facts)"
        )
        figure.suptitle(figure_text(textwrap.fill(text, int(LETTERS * width))), x=0.01, ha="left", fontsize=10)
    return figure


def _weight_map(axes: Axes, weights: pd.DataFrame) -> None:
    """Sizes of the summands that matter most, MLPs side by side; bold where the interval leaves out 0."""
    named = weights.assign(name=[_source(row) for row in weights.to_dict("records")])
    largest = named.assign(size=named["size"].abs()).groupby("name")["size"].max().nlargest(SHOWN).index
    order = [name for name in dict.fromkeys(named["name"]) if name in set(largest)]
    cells = named.pivot_table(index="name", columns="layer", values="size").reindex(order)
    sure = named.assign(sure=named["reads"] != "undecided").pivot_table(index="name", columns="layer", values="sure")
    most = float(np.nanmax(np.abs(cells.to_numpy(dtype=float))))
    axes.imshow(cells.to_numpy(dtype=float), cmap=effect_map(), vmin=-most, vmax=most, aspect="auto")
    axes.set_xticks(range(cells.shape[1]), list(map(str, cells.columns)))
    axes.set_yticks(range(len(order)), order)
    axes.set_xlabel("MLP of layer")
    axes.set_title("coefficient x standard deviation, over the output's; bold: not 0", fontsize=8)
    if cells.shape[1] <= 14:
        for (row, column), value in np.ndenumerate(cells.to_numpy(dtype=float)):
            if np.isfinite(value):
                bold = "bold" if sure.reindex(order).iloc[row, column] else "normal"
                colour = "white" if abs(value) > 0.75 * most else "black"
                axes.text(
                    column, row, f"{value:+.2f}", ha="center", va="center", fontsize=6.5, weight=bold, color=colour
                )


def _source(row: Mapping[Hashable, Any]) -> str:
    """``head 0.1``, ``mlp 2`` or ``embedding``."""
    if row["kind"] == "head":
        return f"head {row['source_layer']}.{row['head']}"
    return f"mlp {row['source_layer']}" if row["kind"] == "mlp" else "embedding"


def intercept_figure(intercepts: pd.DataFrame, facts: pd.DataFrame) -> Figure | None:
    """Cosines of intercepts with the direction from entity to answer, and lens ranks before and after them."""
    if intercepts.empty:
        return None
    width = 9.6
    with house_style():
        figure = new_figure(width, 3.8)
        left, middle, right = figure.subplots(1, 3)
        for at, (words, of_all) in enumerate({"all relations": True, "each relation by itself": False}.items()):
            own = intercepts[((intercepts["category"] == "") == of_all) & (intercepts["fold"] >= 0)]
            place = own["layer"] + 0.2 * (at - 0.5)
            left.plot(place, own["cosine_held"], "o", markersize=3, color=PALETTE[at], alpha=0.35 + 0.3 * of_all)
            mean = own.groupby("layer")["cosine_held"].mean()
            if len(mean):
                left.plot(mean.index, mean, color=PALETTE[at], label=words)
        chance = intercepts["random_95"].mean()
        left.axhspan(-chance, chance, color="0.9", zorder=0, label="90 % of random directions")
        left.set(xlabel="MLP of layer", ylabel="cosine, entity to answer, held-out facts")
        left.legend(frameon=False, fontsize=7)
        fitted = "relation" if (facts["fitted"] == "relation").any() else "all"
        own = facts[facts["fitted"] == fitted]
        for axes, name in ((middle, "entity"), (right, "answer")):
            for at, (suffix, words) in enumerate(ADDED.items()):
                ranks = np.log2(own[f"{name}_{suffix}"]).groupby(own["layer"]).mean()
                axes.plot(2**ranks, marker="o", markersize=3, color=PALETTE[at], label=words)
            axes.set_yscale("log", base=2)
            axes.yaxis.set_major_formatter(ScalarFormatter())
            axes.invert_yaxis()
            axes.set(xlabel="MLP of layer", ylabel=f"lens rank of the {name}, geometric mean")
        middle.legend(frameon=False, fontsize=7)
        for axes in (left, middle, right):
            axes.xaxis.get_major_locator().set_params(integer=True)
        n_facts = len(own[own["layer"] == own["layer"].min()])
        text = (
            f"The intercepts' direction, and what they do to the ranks of {n_facts} held-out facts "
            f"(fitted to {'each relation' if fitted == 'relation' else 'all relations'})"
        )
        figure.suptitle(figure_text(textwrap.fill(text, int(LETTERS * width))), x=0.01, ha="left", fontsize=10)
    return figure


#: What is added to the stream before the MLP, in words.
ADDED = {
    "before": "before the MLP",
    "after": "and its intercept",
    "random": "and a random direction",
    "mlp": "and all it writes",
}
