"""The figure of docs/generation.md: items added by layer, a column for each kind of site."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmarks.generation.claims import RANKINGS
from saeattr.reporting.figures.style import house_style, new_figure
from saeattr.runs.base import BASES
from saeattr.sites import KINDS

COLOURS = {"corrupted": "#d55e00", "zero": "#0173b2", "mean": "#029e73"}
TWENTY = {"attribution": "#cc78bc", "ig": "#0173b2"}


def draw(claims: pd.DataFrame, out: Path) -> None:
    """Above, five features at each base; below, more features and other ways at the corrupted base."""
    with house_style():
        figure = new_figure(9.6, 7.4)
        grid = figure.subplots(2, 3, sharey=True, sharex=True)
        for nth, kind in enumerate(KINDS):
            own = claims[claims["kind"] == kind]
            top5 = own[(own["ranking"] == "attribution") & (own["n_features"] == 5)]
            exact = own[(own["ranking"] == "exact") & (own["base"] == "corrupted")]
            draw_bases(grid[0][nth], top5, exact)
            grid[0][nth].set_title(f"{kind}, five: {finding(pd.concat([top5, exact]))}")
            draw_ways(grid[1][nth], own, top5)
            twenty = own[(own["base"] == "corrupted") & (own["ranking"] == "ig") & (own["n_features"] == 20)]
            grid[1][nth].set_title(f"{kind}, twenty: {finding(twenty)}")
            grid[1][nth].set_xlabel(f"layer of the {kind} SAE")
            for axes in (grid[0][nth], grid[1][nth]):
                axes.axhline(float(claims["nothing"].mean()), color="0.5", linewidth=0.8, linestyle="--")
                axes.axhline(0, color="0.8", linewidth=0.8)
        for row in grid:
            row[0].set_ylabel("items added to a list")
        above, below = (row[-1].get_legend_handles_labels() for row in grid)
        figure.legend(*above, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
        figure.legend(*below, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
        grid[0][0].text(
            5.3, float(claims["nothing"].mean()) + 0.4, "twice as long", fontsize=8, color="0.35", ha="right"
        )
        figure.savefig(out / "generation.png", dpi=110)


def finding(rows: pd.DataFrame) -> str:
    layers = sorted(set(rows.loc[rows["holds"].astype(bool), "layer"]))
    if not layers:
        return "lists do not double"
    return f"double in layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"


def draw_bases(axes: Axes, top5: pd.DataFrame, exact: pd.DataFrame) -> None:
    for nth, base in enumerate(BASES):
        own = top5[top5["base"] == base]
        line(axes, own, "added", f"five held at {base}", COLOURS[base], 0.09 * (nth - 1))
        line(axes, own, "controls", f"controls, {base}", COLOURS[base], 0.09 * (nth - 1), ":")
    line(axes, exact, "added", "five by exact effect, held at corrupted", "#56300f", 0.18, "--")


def draw_ways(axes: Axes, own: pd.DataFrame, top5: pd.DataFrame) -> None:
    corrupted = own[own["base"] == "corrupted"]
    for nth, (ranking, colour) in enumerate(TWENTY.items()):
        rows = corrupted[(corrupted["ranking"] == ranking) & (corrupted["n_features"] == 20)]
        name = f"20 by {RANKINGS[ranking]}"
        line(axes, rows, "added", name, colour, 0.09 * (nth - 1))
        line(axes, rows, "controls", f"controls of {name}", colour, 0.09 * (nth - 1), ":")
    line(axes, corrupted[corrupted["ranking"] == "search"], "added", "five by search (resid_post)", "0.35", 0.09)
    line(axes, top5[top5["base"] == "corrupted"], "steering", "steering", "#029e73", 0.18)


def line(axes: Axes, rows: pd.DataFrame, name: str, label: str, colour: str, shift: float, style: str = "-") -> None:
    if rows.empty:
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
