"""Cumulative curves: what patching, and keeping, the first features of several orders does together."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.reporting.figures.style import figure_text, house_style, new_figure, show_token
from saeattr.reporting.numbers import pairs_text, span_text
from saeattr.validation.curves import ALL, ALL_AND_ERROR, EQUAL, features_for_half

ORDER_COLOURS = {
    "attribution": "#0173b2",
    "exact": "#029e73",
    "activation": "#de8f05",
    "random": "0.55",
    EQUAL: "#cc78bc",
}
#: Each panel's column of ``tables.CURVES``, with its title.
PANELS = {
    "removed": "gap removed by patching them",
    "faithfulness": "faithfulness: all others patched",
    "completeness": "completeness: left without them",
}


def cumulative(curves: pd.DataFrame, group: str, n_pairs: int | None = None) -> Figure | None:
    """What patching (and keeping) the first features of each order does; None without a curve.

    Args:
        curves: ``tables.CURVES`` of one group.
        n_pairs: how many distinct pairs they were measured on; None where that is not known.
    """
    orders = [order for order in ORDER_COLOURS if (curves["order"] == order).any()]
    if not orders:
        return None
    with house_style():
        figure = new_figure(9.6, 3.6)
        panels = figure.subplots(1, len(PANELS))
        for axes, (name, title) in zip(panels, PANELS.items(), strict=True):
            for order in orders:
                _curve(axes, curves[curves["order"] == order], name, order)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("features, from the first of the order")
            for level in (0, 1):
                axes.axhline(level, color="0.85", linewidth=0.8, zorder=0)
        _reference(panels[0], curves)
        panels[0].set_ylabel("share of the clean-corrupted gap")
        panels[1].set_ylabel("share of what all features do")
        panels[1].set_ylim(*_with_unit_range(panels[1]))
        panels[2].set_ylim(*_with_unit_range(panels[2]))
        # Without corrupted prompts the first panel is empty.
        named = {
            label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        over = "pairs" if n_pairs is None else pairs_text([n_pairs])
        words = {"title": f"mean over {over}, bands: 95 %", "fontsize": 7, "title_fontsize": 7, "frameon": False}
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=4, **words)
        figure.suptitle(figure_text(f"{show_token(group, 30)}: {_half_text(curves)}"), x=0.01, ha="left", fontsize=10)
    return figure


def _curve(axes: Axes, own: pd.DataFrame, name: str, order: str) -> None:
    """One order; controls say nothing of faithfulness and completeness, so nothing of them is drawn there."""
    known = own[own[name].notna()]
    if known.empty:
        return
    label = order
    if order == EQUAL:
        label = f"controls of equal length (ratio {span_text(own['length_ratio'], '.2f')})"
    colour = ORDER_COLOURS[order]
    axes.plot(known["n_features"], known[name], color=colour, marker="o", markersize=3, label=label)
    low, high = known[f"{name}_low"].astype(float), known[f"{name}_high"].astype(float)
    axes.fill_between(known["n_features"], low, high, color=colour, alpha=0.2, linewidth=0)


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
