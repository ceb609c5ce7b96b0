"""The figure of docs/accuracy.md: Pearson with exact effects by layer, one line a method."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from saeattr.reporting.figures.style import house_style, new_figure
from saeattr.sites import KINDS

LABELS = {
    "attribution": "attribution patching",
    "relp": "relevance patching",
    "ig 5": "integrated gradients, 5 steps",
    "ig 10": "integrated gradients, 10 steps",
}
COLOURS = {"attribution": "#0173b2", "relp": "#d55e00", "ig 5": "#8fd3b6", "ig 10": "#029e73"}


def draw(sites: pd.DataFrame, out: Path, layers: dict[str, int]) -> None:
    """Pearson by layer, one line a method; kinds across, models down; corrupted base."""
    usual = sites[sites["base"] == "corrupted"]
    deep = usual[usual["model"] == "deep"].groupby("method")["pearson"].mean()
    with house_style():
        figure = new_figure(9.6, 5.4)
        grid = figure.subplots(2, 3, sharey=True, squeeze=False)
        for row, model in enumerate(("bundled", "deep")):
            for axes, kind in zip(grid[row], KINDS, strict=True):
                panel(axes, usual[(usual["model"] == model) & (usual["kind"] == kind)])
                axes.set_title(f"{model} model, {kind}")
            grid[row][0].set_ylabel("Pearson with exact effects")
        for axes in grid[1]:
            axes.set_xlabel("layer")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle(
            f"Mean Pearson in {layers['deep']} layers: attribution patching {deep['attribution']:.2f}, relevance "
            f"patching {deep['relp']:.2f}, integrated gradients {deep['ig 10']:.2f} (corrupted base)",
            x=0.01,
            ha="left",
            fontsize=10,
        )
        figure.savefig(out / "accuracy.png", dpi=110)


def panel(axes: Axes, rows: pd.DataFrame) -> None:
    for method, label in LABELS.items():
        own = rows[rows["method"] == method].sort_values("layer")
        axes.plot(own["layer"], own["pearson"], marker="o", markersize=4, color=COLOURS[method], label=label)
    axes.axhline(1, color="0.85", linewidth=0.8, zorder=0)
    axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    axes.set_xticks(sorted(rows["layer"].unique()))
