"""Attribution against exact effect: one panel a site, one point a feature."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.reporting.figures.style import figure_text, house_style, new_figure, show_token
from saeattr.reporting.numbers import pairs_text
from saeattr.sites import KINDS
from saeattr.tables import SITE, row_site

POINTS = "#0173b2"
#: Panels in a row.
ACROSS = 4


def effect_scatter(
    compared: pd.DataFrame, agreement: pd.DataFrame, group: str, n_pairs: int | None = None
) -> Figure | None:
    """Attribution against exact effect of every feature patched by itself, one panel a site; None where nothing was.

    Both are of the pairs that ranked. Features that were only sampled are drawn hollow.

    Args:
        compared: ``tables.COMPARED`` of one group.
        agreement: ``tables.AGREEMENT`` of that group: the correlations in the titles.
        n_pairs: how many distinct pairs ranked; None where that is not known.
    """
    if compared.empty:
        return None
    order = {kind: place for place, kind in enumerate(KINDS)}
    sites = agreement.sort_values(SITE, key=lambda column: column.map(order).fillna(column))
    across = min(ACROSS, len(sites))
    down = -(-len(sites) // across)
    with house_style():
        width = max(5.0, 2.3 * across + 0.4)
        figure = new_figure(width, 2.4 * down + 1.1)
        grid = figure.subplots(down, across, squeeze=False)
        for axes, row in zip(grid.flat, sites.to_dict("records"), strict=False):
            own = compared[(compared["layer"] == row["layer"]) & (compared["kind"] == row["kind"])]
            _panel(axes, own, row, bool(compared["tested"].any()))
        for axes in list(grid.flat)[len(sites) :]:
            axes.axis("off")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=8, frameon=False, loc="outside right center")
        figure.supxlabel(f"exact effect (change of the metric), {_mean_over(n_pairs)}", fontsize=9)
        figure.supylabel("attribution (estimate of it)", fontsize=9)
        title = textwrap.fill(f"{show_token(group, 30)}: {_agreement_text(sites)}", int(13 * width))
        figure.suptitle(figure_text(title), x=0.01, ha="left", fontsize=10)
    return figure


def _mean_over(n_pairs: int | None) -> str:
    if n_pairs == 1:
        return "of the one pair"
    known = "the pairs" if n_pairs is None else pairs_text([n_pairs])
    return f"mean over {known} that ranked"


def _panel(axes: Axes, own: pd.DataFrame, site: dict[str, Any], any_tested: bool) -> None:
    """``any_tested``: at any site; where nothing is, there is no other kind to tell the points from."""
    values = own[["exact_mean", "effect_mean"]].to_numpy(dtype=float)
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    margin = 0.08 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color="0.7", linewidth=0.8, zorder=0, label="equal")
    axes.axhline(0, color="0.9", linewidth=0.6, zorder=-1)
    axes.axvline(0, color="0.9", linewidth=0.6, zorder=-1)
    kinds = ((False, "none", "sampled"), (True, POINTS, "tested")) if any_tested else ((False, "none", "measured"),)
    for tested, face, label in kinds:
        part = own[own["tested"] == tested]
        axes.scatter(
            part["exact_mean"], part["effect_mean"], s=14, facecolor=face, edgecolor=POINTS, lw=0.8, label=label
        )
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.locator_params(nbins=4)
    axes.tick_params(labelsize=7)
    r = "too few for r" if np.isnan(site["pearson"]) else f"r = {site['pearson']:.3f}"
    axes.set_title(f"{row_site(site)}: {r}, n = {site['n_features']}", fontsize=8)


def _agreement_text(sites: pd.DataFrame) -> str:
    known = sites["pearson"].dropna()
    if known.empty:
        return "too few features to say how well attribution predicts exact effects"
    spread = f"{known.min():.2f}" if len(known) == 1 else f"{known.min():.2f} to {known.max():.2f}"
    return f"attribution and exact effect correlate by {spread} over features of a site"
