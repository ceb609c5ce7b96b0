"""The tested features as a forest plot: exact effects with intervals, beside estimates, controls and what is small."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.reporting.figures.style import figure_text, house_style, new_figure, show_token
from saeattr.reporting.numbers import pairs_text, span_text
from saeattr.reporting.verdicts import LOOKS
from saeattr.tables import row_address
from saeattr.validation.evidence import FEWEST_PAIRS
from saeattr.validation.verdicts import VERDICTS

#: Letters of the title in an inch.
LETTERS = 14


def forest(validation: pd.DataFrame, group: str, metric_label: str) -> Figure | None:
    """The tested features, largest attribution on top; None where nothing was tested.

    A point is the median exact effect, with its interval where there are pairs enough for one; a diamond the median
    estimate. The grey band holds what 95 % of a feature's controls do, in either direction; between the thin lines an
    effect is smaller than the smallest of interest.

    Args:
        validation: ``tables.VALIDATION`` of one group.
    """
    if validation.empty:
        return None
    with house_style():
        width = 7.6
        figure = new_figure(width, 1.8 + 0.24 * len(validation))
        axes = figure.subplots()
        axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        _yardsticks(axes, validation)
        _measured(axes, validation)
        face = {"facecolor": "none", "edgecolor": "black", "lw": 0.7, "zorder": 4}
        at = np.arange(len(validation))
        axes.scatter(validation["effect_median"], at, marker="D", s=16, label="attribution, median", **face)
        axes.set_yticks(at, [row_address(row) for row in validation.to_dict("records")], fontsize=7)
        axes.set_ylim(len(at) - 0.4, -0.6)
        what = f"change of {metric_label} when the feature is patched"
        axes.set_xlabel(figure_text(f"{what}\nmedian over pairs, 95 % interval"))
        handles, labels = axes.get_legend_handles_labels()
        # What was measured first, then what it is to be compared with.
        named = dict(sorted(zip(labels, handles, strict=True), key=lambda entry: not entry[0].startswith("exact")))
        figure.legend(named.values(), named.keys(), fontsize=7, frameon=False, loc="outside lower center", ncols=3)
        title = textwrap.fill(f"{show_token(group, 30)}: {_finding(validation)}", int(LETTERS * width))
        figure.suptitle(figure_text(title), x=0.01, ha="left", fontsize=10)
    return figure


def _yardsticks(axes: Axes, validation: pd.DataFrame) -> None:
    """The band of each feature's controls, and the lines of the smallest effect of interest."""
    at = np.arange(len(validation))
    reach = validation["control_high"].to_numpy(dtype=float)
    known = np.isfinite(reach)
    if known.any():
        axes.barh(
            at[known],
            2 * reach[known],
            left=-reach[known],
            height=0.75,
            color="0.87",
            label="95 % of controls of equal length do less",
            zorder=-1,
        )
    small = (validation["smallest"] * validation["gap"].abs()).to_numpy(dtype=float)
    known = np.isfinite(small) & (small > 0)
    if known.any():
        share = span_text(100 * validation.loc[known, "smallest"])
        style = {"color": "0.35", "linewidth": 0.7}
        # A feature that other pairs test has another gap.
        axes.vlines(small[known], at[known] - 0.5, at[known] + 0.5, label=f"{share} % of the gap", **style)
        axes.vlines(-small[known], at[known] - 0.5, at[known] + 0.5, **style)


def _measured(axes: Axes, validation: pd.DataFrame) -> None:
    """Exact effects in the verdicts' colours, each with its interval if it has one."""
    at = np.arange(len(validation))
    for verdict in VERDICTS:
        own = (validation["verdict"] == verdict).to_numpy()
        if not own.any():
            continue
        look, part = LOOKS[verdict], validation[own]
        median, low, high = (part[f"exact_{name}"].to_numpy(dtype=float) for name in ("median", "low", "high"))
        # Too few pairs have a point without an interval: nothing is drawn of an end that is not a number.
        reach = np.stack([median - low, high - median])
        axes.errorbar(median, at[own], xerr=reach, fmt="none", ecolor=look.colour, capsize=2, elinewidth=1.2)
        face = "white" if look.hollow else look.colour
        style = {"marker": look.marker, "markersize": 5, "color": look.colour, "markerfacecolor": face, "zorder": 3}
        axes.plot(median, at[own], linestyle="none", label=f"exact: {verdict} ({own.sum()})", **style)


def _finding(validation: pd.DataFrame) -> str:
    """How many features are causal, and how many distinct pairs tested them."""
    n_features, pairs = len(validation), pairs_text(validation["n_pairs"])
    if (validation["n_pairs"] < FEWEST_PAIRS).all():
        return f"{pairs} tested {n_features} features, too few for a verdict (it takes {FEWEST_PAIRS})"
    counts = validation["verdict"].value_counts()
    text = f"{counts.get('causal', 0)} of {n_features} features tested on {pairs} are causal"
    if "opposite sign" in counts:
        text += f", {counts['opposite sign']} with the opposite sign of the estimate"
    return text
