"""The figure of docs/generation.md: items added by layer, a column for each kind of site."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from saeattr.reporting.figures.style import house_style, new_figure
from saeattr.runs.base import BASES
from saeattr.sites import KINDS

SIZES = {1: ("one", "#cc78bc"), 5: ("five", "#d55e00"), 20: ("twenty", "#56300f")}
COLOURS = {"corrupted": "#d55e00", "zero": "#0173b2", "mean": "#029e73"}


def draw(found: pd.DataFrame, out: Path) -> None:
    """Above, one, five and twenty features at the corrupted base; below, five at each base and other ways."""
    with house_style():
        figure = new_figure(9.6, 7.4)
        grid = figure.subplots(2, 3, sharey=True, sharex=True)
        for nth, kind in enumerate(KINDS):
            own = found[found["kind"] == kind]
            draw_sizes(grid[0][nth], own[(own["base"] == "corrupted") & (own["ranking"] == "attribution")])
            grid[0][nth].set_title(f"{kind}: one, five, twenty")
            draw_ways(grid[1][nth], own[(own["n_features"] == 5)])
            grid[1][nth].set_title(f"{kind}: five, and other ways")
            grid[1][nth].set_xlabel(f"layer of the {kind} SAE")
            for axes in (grid[0][nth], grid[1][nth]):
                axes.axhline(0, color="0.8", linewidth=0.8)
        for row in grid:
            row[0].set_ylabel("items added to a list")
        above, below = (row[-1].get_legend_handles_labels() for row in grid)
        figure.legend(*above, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
        figure.legend(*below, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
        figure.savefig(out / "generation.png", dpi=110)


def draw_sizes(axes: Axes, own: pd.DataFrame) -> None:
    for nth, (size, (name, colour)) in enumerate(SIZES.items()):
        rows, shift = own[own["n_features"] == size], 0.09 * (nth - 1)
        line(axes, rows, "added", f"{name} held at corrupted", colour, shift)
        line(axes, rows, "controls", f"controls of equal length, {name}", colour, shift, ":")


def draw_ways(axes: Axes, own: pd.DataFrame) -> None:
    five = own[own["ranking"] == "attribution"]
    for nth, base in enumerate(BASES):
        line(axes, five[five["base"] == base], "added", f"five held at {base}", COLOURS[base], 0.09 * (nth - 1))
    line(axes, own[own["ranking"] == "search"], "added", "five by search (resid_post)", "0.35", 0.18)
    line(axes, five[five["base"] == "corrupted"], "steering", "steering", "#cc78bc", 0.27)


def line(axes: Axes, rows: pd.DataFrame, name: str, label: str, colour: str, shift: float, style: str = "-") -> None:
    if rows.empty or name not in rows:
        return
    rows = rows.dropna(subset=[name]).sort_values("layer")
    reach = np.clip([rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]], 0, None)
    axes.errorbar(
        rows["layer"] + shift,
        rows[name],
        yerr=reach,
        color=colour,
        linestyle=style,
        marker="o",
        markersize=3.5,
        label=label,
        elinewidth=0.9,
    )
