"""Two models: each feature's effect in one against its effect in the other, and where the change is, site by site."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.comparison.results import Comparison
from saeattr.reporting.figures.style import PALETTE, figure_text, house_style, new_figure, save_figure, show_token
from saeattr.reporting.numbers import pairs_text
from saeattr.sites import KINDS
from saeattr.tables import row_address, row_site
from saeattr.validation.evidence import ALPHA

NAME = "changes"
#: Features that are named, the largest |change| first.
NAMED = 8
#: Of the bars: through activations, and through the slope.
THROUGH = {"activation_part": ("through activations", "#d55e00"), "slope_part": ("through the slope", "#56b4e9")}


def draw_comparison(found: Comparison) -> None:
    """Write the figure into the comparison's folder, or take an old one away where there is nothing to draw.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    figure = comparison_figure(found)
    if figure is not None:
        save_figure(figure, found.folder, NAME)
        return
    for suffix in ("png", "svg"):
        (found.folder / f"{NAME}.{suffix}").unlink(missing_ok=True)


def comparison_figure(found: Comparison) -> Figure | None:
    """Left: median estimated effects in A and B, a point a feature and group; right: the change by site.

    None where no feature is compared.
    """
    if found.changes.empty:
        return None
    sites = _by_site(found.sites)
    measured = bool(sites["taken_back"].notna().any())
    with house_style():
        width = 10.5 if measured else 9.0
        figure = new_figure(width, max(4.6, 1.9 + 0.2 * len(sites)))
        panels = figure.subplots(1, 3 if measured else 2, width_ratios=(1.25, 0.9, 0.55)[: 3 if measured else 2])
        _scatter(panels[0], found)
        _bars(panels[1], sites)
        if measured:
            _taken_back(panels[2], sites)
        groups = found.changes["group"].unique()
        where = show_token(str(groups[0]), 30) if len(groups) == 1 else f"{len(groups)} groups"
        title = textwrap.fill(f"{where}: {_finding(found)}", int(13 * width))
        figure.suptitle(figure_text(title), x=0.01, ha="left", fontsize=10)
    return figure


def _finding(found: Comparison) -> str:
    table = found.changes
    changed = int((table["q_value"] <= ALPHA).sum())
    return (
        f"{changed} of {len(table)} features compared on {pairs_text(table['n_pairs'])} changed their estimated effect "
        f"(q <= {ALPHA:g})"
    )


def _scatter(axes: Axes, found: Comparison) -> None:
    table = found.changes
    changed = (table["q_value"] <= ALPHA).to_numpy()
    values = table[["effect_a", "effect_b"]].to_numpy(dtype=float)
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    margin = 0.08 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color="0.7", linewidth=0.8, zorder=0)
    for zero in (axes.axhline, axes.axvline):
        zero(0, color="0.9", linewidth=0.6, zorder=-1)
    axes.scatter(*values[~changed].T, s=9, color="0.65", label="change not shown", linewidths=0)
    kinds = table["kind"].to_numpy()
    for kind, colour in zip(KINDS, PALETTE, strict=False):
        own = changed & (kinds == kind)
        if own.any():
            axes.scatter(*values[own].T, s=16, color=colour, label=f"changed, {kind}", linewidths=0, zorder=2)
    _name(axes, table, limits)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set_xlabel(figure_text(f"effect in A ({show_token(found.a, 40)})\nestimate, median over pairs"))
    axes.set_ylabel(figure_text(f"effect in B ({show_token(found.b, 40)})"))
    axes.legend(fontsize=7, frameon=False, loc="upper left")


def _name(axes: Axes, table: pd.DataFrame, limits: tuple[float, float]) -> None:
    """Addresses of the most changed features in a column, in the order of their height; a line leads to each."""
    shown = table[table["q_value"] <= ALPHA]
    shown = (shown if len(shown) else table).head(NAMED).sort_values("effect_b")
    low, high = limits
    for nth, row in enumerate(shown.to_dict("records")):
        axes.annotate(
            row_address(row),
            (row["effect_a"], row["effect_b"]),
            (high + 0.03 * (high - low), low + (nth + 0.5) / NAMED * (high - low)),
            fontsize=6.5,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
        )


def _by_site(sites: pd.DataFrame) -> pd.DataFrame:
    """One row a site in the model's order, means over groups (of what is known)."""
    order = {kind: place for place, kind in enumerate(KINDS)}
    table = sites.groupby(["layer", "kind"], as_index=False)[[*THROUGH, "activation_change", "taken_back"]].mean()
    return table.sort_values(["layer", "kind"], key=lambda column: column.map(order).fillna(column), ignore_index=True)


def _bars(axes: Axes, sites: pd.DataFrame) -> None:
    """Sums of |parts| at each site, the first site on top."""
    at, start = np.arange(len(sites)), np.zeros(len(sites))
    for part, (label, colour) in THROUGH.items():
        axes.barh(at, sites[part], left=start, height=0.7, color=colour, label=label)
        start = start + sites[part].to_numpy(dtype=float)
    axes.set_yticks(at, [str(row_site(row)) for row in sites.to_dict("records")], fontsize=7)
    axes.set_ylim(len(at) - 0.4, -0.6)
    axes.set_xlabel("sum over features of\n|mean change of the estimate|")
    axes.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _taken_back(axes: Axes, sites: pd.DataFrame) -> None:
    """The share of the metric's change that A's activation undoes in B, site by site."""
    at = np.arange(len(sites))
    for share in (0, 1):
        axes.axvline(share, color="0.7", linewidth=0.8, linestyle=":", zorder=0)
    axes.plot(sites["taken_back"], at, "o", color="black", markersize=4)
    axes.set_yticks(at, [])
    axes.set_ylim(len(at) - 0.4, -0.6)
    axes.set_xlabel("share of the metric's change\nundone with A's x in B")
