"""Figures of what was measured: attribution against exact effect, top features with intervals, cumulative curves."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.reporting.figures.style import figure_text, house_style, new_figure, show_token
from saeattr.sites import KINDS
from saeattr.tables import SITE, row_address, row_site
from saeattr.validation.curves import ALL, ALL_AND_ERROR, features_for_half

TESTED = "#0173b2"
VERDICT_COLOURS = {"causal": "#0173b2", "weak": "#56b4e9", "not causal": "0.55", "opposite sign": "#d55e00"}
ORDER_COLOURS = {"attribution": "#0173b2", "exact": "#029e73", "activation": "#de8f05", "random": "0.55"}
#: Panels in a row of the scatter.
ACROSS = 4


def effect_scatter(compared: pd.DataFrame, agreement: pd.DataFrame, group: str) -> Figure | None:
    """Attribution against exact effect of every feature patched, one panel a site; None where nothing was.

    Args:
        compared: as ``validation_table.compared_effects`` returns it, of one group. Controls are drawn hollow.
        agreement: as ``validation_table.site_agreement`` returns it, of that group: the correlations in the titles.
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
            _scatter_panel(axes, own, row)
        for axes in list(grid.flat)[len(sites) :]:
            axes.axis("off")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=8, frameon=False, loc="outside right center")
        figure.supxlabel("exact effect (change of the metric, mean over pairs)", fontsize=9)
        figure.supylabel("attribution (estimate of it)", fontsize=9)
        title = textwrap.fill(f"{show_token(group, 30)}: {_agreement_text(sites)}", int(13 * width))
        figure.suptitle(figure_text(title), x=0.01, ha="left", fontsize=10)
    return figure


def _scatter_panel(axes: Axes, own: pd.DataFrame, site: dict[str, Any]) -> None:
    values = own[["exact_mean", "effect_mean"]].to_numpy(dtype=float)
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    margin = 0.08 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color="0.7", linewidth=0.8, zorder=0, label="equal")
    axes.axhline(0, color="0.9", linewidth=0.6, zorder=-1)
    axes.axvline(0, color="0.9", linewidth=0.6, zorder=-1)
    for tested, face, label in ((False, "none", "control"), (True, TESTED, "tested")):
        part = own[own["tested"] == tested]
        axes.scatter(
            part["exact_mean"], part["effect_mean"], s=14, facecolor=face, edgecolor=TESTED, lw=0.8, label=label
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


def forest(validation: pd.DataFrame, group: str, metric_label: str) -> Figure | None:
    """The tested features, largest attribution on top: exact effect with interval, attribution, and controls' band.

    ``validation``: as ``validation_table`` returns it, of one group. None where nothing was tested.
    """
    if validation.empty:
        return None
    rows = validation.to_dict("records")
    at = np.arange(len(rows))
    with house_style():
        figure = new_figure(7.2, 1.3 + 0.24 * len(rows))
        axes = figure.subplots()
        axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        _verdict_points(axes, validation)
        face = {"facecolor": "none", "edgecolor": "black", "lw": 0.7}
        axes.scatter(validation["effect_mean"], at, marker="D", s=16, label="attribution", **face)
        names = [row_address(row) for row in rows]
        axes.set_yticks(at, names, fontsize=7)
        axes.invert_yaxis()
        axes.set_xlabel(
            figure_text(f"change of {metric_label} when the feature is patched\n(mean over pairs, 95 % interval)")
        )
        axes.legend(fontsize=7, frameon=False, loc="best")
        counts = validation["verdict"].value_counts()
        text = f"{group}: {counts.get('causal', 0)} of the top {len(rows)} features are causal"
        if "opposite sign" in counts:
            text += f", {counts['opposite sign']} with the opposite sign of its estimate"
        figure.suptitle(figure_text(text), x=0.01, ha="left", fontsize=10)
    return figure


def _verdict_points(axes: Axes, validation: pd.DataFrame) -> None:
    """Exact effects with their intervals in the verdicts' colours, before the bands of the controls."""
    at = np.arange(len(validation))
    low, high = (validation[name].to_numpy(dtype=float) for name in ("control_low", "control_high"))
    # A band thinner than a line would not be seen.
    band = {"height": 0.75, "color": "0.82", "edgecolor": "0.7", "lw": 1.2}
    axes.barh(at, high - low, left=low, label="controls: interval of their mean", **band)
    for verdict, colour in VERDICT_COLOURS.items():
        own = (validation["verdict"] == verdict).to_numpy()
        if own.any():
            part = validation[own]
            mean = part["exact_mean"].to_numpy(dtype=float)
            reach = np.abs([mean - part["exact_low"], part["exact_high"] - mean])
            style = {"fmt": "o", "markersize": 4, "capsize": 2, "lw": 1}
            axes.errorbar(
                mean, at[own], xerr=reach, color=colour, label=f"exact effect: {verdict} ({own.sum()})", **style
            )


def cumulative(curves: pd.DataFrame, group: str) -> Figure | None:
    """What patching (and keeping) the first features of each order does; None without a curve.

    ``curves``: as ``cumulative_curves`` returns it, of one group.
    """
    orders = [order for order in ORDER_COLOURS if (curves["order"] == order).any()]
    if not orders:
        return None
    with house_style():
        figure = new_figure(9.6, 3.6)
        panels = figure.subplots(1, 3)
        names = ("removed", "faithfulness", "completeness")
        titles = ("gap removed by patching them", "faithfulness: all others patched", "completeness: left without them")
        panels[1].set_ylabel("share of what all features do")
        for axes, name, title in zip(panels, names, titles, strict=True):
            for order in orders:
                own = curves[curves["order"] == order]
                colour = ORDER_COLOURS[order]
                axes.plot(own["n_features"], own[name], color=colour, marker="o", markersize=3, label=order)
                axes.fill_between(
                    own["n_features"], own[f"{name}_low"], own[f"{name}_high"], color=colour, alpha=0.2, linewidth=0
                )
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("features, from the first of the order")
            for level in (0, 1):
                axes.axhline(level, color="0.85", linewidth=0.8, zorder=0)
        _reference(panels[0], curves)
        panels[0].set_ylabel("share of the clean-corrupted gap")
        panels[1].set_ylim(*_with_unit_range(panels[1]))
        panels[2].set_ylim(*_with_unit_range(panels[2]))
        # Faithfulness stays low for long: there is room in its panel.
        handles, labels = panels[0].get_legend_handles_labels()
        panels[1].legend(handles, labels, fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0, 0.95))
        figure.suptitle(figure_text(f"{show_token(group, 30)}: {_half_text(curves)}"), x=0.01, ha="left", fontsize=10)
    return figure


def _reference(axes: Axes, curves: pd.DataFrame) -> None:
    """What all features of the sites remove together, without and with the error terms."""
    axes.axhline(0.5, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    for name, style in ((ALL, "--"), (ALL_AND_ERROR, "-.")):
        own = curves[curves["order"] == name]
        if len(own):
            axes.axhline(float(own["removed"].iloc[0]), color="0.4", linewidth=0.8, linestyle=style, label=name)


def _with_unit_range(axes: Axes) -> tuple[float, float]:
    low, high = axes.get_ylim()
    return min(low, -0.05), max(high, 1.05)


def _half_text(curves: pd.DataFrame) -> str:
    half = features_for_half(curves).set_index("order")["n_features"]
    reached = [f"{half[order]:.0f} by {order}" for order in ORDER_COLOURS if order in half and half[order] > 0]
    if not reached:
        return "no order removes half of the clean-corrupted gap"
    return f"half of the clean-corrupted gap is gone with the first {', '.join(reached)}"
