"""Two recall studies by fraction of depth: curves over each other, and differences with their intervals."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.recall.localisation.curves import ENTITY, FINAL
from saeattr.recall.phases.compare import DIRECTION, RecallComparison
from saeattr.reporting.figures.style import CLEAN, CORRUPTED, figure_text, house_style, new_figure, save_figure

COLOURS = {ENTITY: CLEAN, FINAL: CORRUPTED}
#: Letters of a title in an inch.
LETTERS = 13


def draw_recall_comparison(found: RecallComparison) -> None:
    """Draw and save the figure beside the tables."""
    assert found.folder is not None
    save_figure(recall_comparison_figure(found), found.folder, "recall-compare")


def recall_comparison_figure(found: RecallComparison) -> Figure:
    """Left the stream's curves of both by depth, right every depth's difference."""
    depths = found.rows[(found.rows["unit"] == "depth") & found.rows["difference"].notna()]
    with house_style():
        figure = new_figure(9.6, 4.2)
        left, right = figure.subplots(1, 2, width_ratios=[1.2, 1.0])
        _curves(left, found)
        _differences(right, depths)
        row = found.rows.iloc[0]
        said = (
            f"A: {found.a} ({found.n_layers[0]} layers, {row['n_a']} facts); B: {found.b} ({found.n_layers[1]} layers, "
            f"{row['n_b']} facts, {row['n_shared']} of both); released at depth {row['a']:.2f} and {row['b']:.2f}"
        )
        figure.suptitle(figure_text(textwrap.fill(said, int(LETTERS * 9.6))), x=0.01, ha="left", fontsize=10)
    return figure


def _curves(axes: Axes, found: RecallComparison) -> None:
    own = found.curves[found.curves["direction"] == DIRECTION]
    for place, colour in COLOURS.items():
        rows = own[own["place"] == place]
        for letter, line in (("a", "-"), ("b", "--")):
            name = f"share_{letter}"
            axes.plot(rows["depth"], rows[name], line, color=colour, label=f"{place}, {letter.upper()}")
            axes.fill_between(
                rows["depth"], rows[f"{name}_low"], rows[f"{name}_high"], color=colour, alpha=0.15, linewidth=0
            )
    for level in (0, 1):
        axes.axhline(level, color="0.85", linewidth=0.8, zorder=0)
    axes.set(xlabel="depth (layers passed / layers)", ylabel="share of the swing that the stream carries")
    axes.set_title(f"{DIRECTION}, resid_pre", fontsize=9)
    axes.legend(frameon=False, fontsize=8)


def _differences(axes: Axes, rows: pd.DataFrame) -> None:
    heights = range(len(rows))[::-1]
    for height, row in zip(heights, rows.to_dict("records"), strict=True):
        axes.plot([row["difference_low"], row["difference_high"]], [height] * 2, color="0.35", linewidth=1.0)
        axes.plot(row["difference"], height, "o", color="black", markersize=4)
    axes.axvline(0, color="0.85", linewidth=0.8, zorder=0)
    axes.set_yticks(list(heights), [f"{row['measure']}, {row['of']}" for row in rows.to_dict("records")], fontsize=7)
    axes.set_xlabel("B - A, fraction of depth")
