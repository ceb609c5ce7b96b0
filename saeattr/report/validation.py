"""Figures of what was measured: attribution against exact effect, top features with intervals, cumulative curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.analysis.cumulative import ALL, ALL_AND_ERROR, features_for_half
from saeattr.report.labels import feature_address, figure_text, show_token
from saeattr.report.style import house_style, new_figure
from saeattr.sites import KINDS

KIND_COLOURS = dict(zip(KINDS, ("#029e73", "#de8f05", "#0173b2"), strict=True))
VERDICT_COLOURS = {"causal": "#0173b2", "weak": "#56b4e9", "not causal": "0.55", "opposite sign": "#d55e00"}
ORDER_COLOURS = {"attribution": "#0173b2", "exact": "#029e73", "activation": "#de8f05", "random": "0.55"}
#: Panels in a row of the scatter.
ACROSS = 4


def effect_scatter(compared: pd.DataFrame, topic: str) -> Figure | None:
    """Attribution against exact effect of every feature patched, one panel a layer; None where nothing was.

    ``compared``: as ``validate.compared_effects`` returns it, of one topic. Controls are drawn hollow.
    """
    if compared.empty:
        return None
    layers = sorted(compared["layer"].unique())
    across = min(ACROSS, len(layers))
    down = -(-len(layers) // across)
    with house_style():
        figure = new_figure(max(5.0, 2.5 * across + 0.4), 2.5 * down + 0.9)
        grid = figure.subplots(down, across, squeeze=False)
        for axes, layer in zip(grid.flat, layers, strict=False):
            _scatter_panel(axes, compared[compared["layer"] == layer], layer)
        for axes in list(grid.flat)[len(layers) :]:
            axes.axis("off")
        grid[0, 0].legend(fontsize=7, frameon=False, handletextpad=0.2, borderpad=0)
        figure.supxlabel("exact effect (change of the metric)", fontsize=9)
        figure.supylabel("attribution", fontsize=9)
        n_tested = int(compared["tested"].sum())
        text = f"{topic}: {n_tested} features tested, {len(compared) - n_tested} controls (hollow); line: equal"
        figure.suptitle(figure_text(text), x=0.01, ha="left", fontsize=10)
    return figure


def _scatter_panel(axes: Axes, own: pd.DataFrame, layer: int) -> None:
    values = own[["exact_mean", "effect_mean"]].to_numpy(dtype=float)
    limit = 1.1 * float(np.abs(values).max()) or 1.0
    axes.plot([-limit, limit], [-limit, limit], color="0.7", linewidth=0.8, zorder=0)
    axes.axhline(0, color="0.9", linewidth=0.6, zorder=-1)
    axes.axvline(0, color="0.9", linewidth=0.6, zorder=-1)
    for kind, colour in KIND_COLOURS.items():
        of_kind = own[own["kind"] == kind]
        for tested, face, label in ((False, "none", None), (True, colour, kind)):
            part = of_kind[of_kind["tested"] == tested]
            if len(part):
                axes.scatter(
                    part["exact_mean"], part["effect_mean"], s=14, facecolor=face, edgecolor=colour, lw=0.8, label=label
                )
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize=7)
    enough = len(own) >= 3 and (np.ptp(values, axis=0) > 0).all()
    r = f"r = {np.corrcoef(values.T)[0, 1]:.3f}" if enough else "too few for r"
    axes.set_title(f"layer {layer}: {r} ({len(own)})", fontsize=8)


def forest(validation: pd.DataFrame, topic: str) -> Figure | None:
    """The tested features, largest attribution on top: exact effect with interval, attribution, and controls' band.

    ``validation``: as ``validation_table`` returns it, of one topic. None where nothing was tested.
    """
    if validation.empty:
        return None
    rows = validation.to_dict("records")
    at = np.arange(len(rows))
    with house_style():
        figure = new_figure(7.2, 1.3 + 0.24 * len(rows))
        axes = figure.subplots()
        axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        low, high = (validation[name].to_numpy(dtype=float) for name in ("control_low", "control_high"))
        # A band thinner than a line would not be seen.
        axes.barh(at, high - low, left=low, height=0.75, color="0.82", edgecolor="0.7", lw=1.2, label="controls, mean")
        for verdict, colour in VERDICT_COLOURS.items():
            own = (validation["verdict"] == verdict).to_numpy()
            if own.any():
                part = validation[own]
                mean = part["exact_mean"].to_numpy(dtype=float)
                reach = [mean - part["exact_low"], part["exact_high"] - mean]
                label = f"exact effect: {verdict} ({own.sum()})"
                axes.errorbar(
                    mean, at[own], xerr=np.abs(reach), fmt="o", color=colour, markersize=4, capsize=2, lw=1, label=label
                )
        axes.scatter(
            validation["effect_mean"],
            at,
            marker="D",
            s=16,
            facecolor="none",
            edgecolor="black",
            lw=0.7,
            label="attribution",
        )
        names = [feature_address(row["kind"], row["layer"], row["feature"]) for row in rows]
        axes.set_yticks(at, names, fontsize=7)
        axes.invert_yaxis()
        axes.set_xlabel("change of the metric when the feature is patched (mean over lists, 95 %)")
        axes.legend(fontsize=7, frameon=False, loc="best")
        n_causal = int((validation["verdict"] == "causal").sum())
        text = f"{topic}: {n_causal} of the top {len(rows)} features are causal"
        figure.suptitle(figure_text(text), x=0.01, ha="left", fontsize=10)
    return figure


def cumulative(curves: pd.DataFrame, topic: str) -> Figure | None:
    """What patching (and keeping) the first features of each order does; None without a curve.

    ``curves``: as ``cumulative_curves`` returns it, of one topic.
    """
    orders = [order for order in ORDER_COLOURS if (curves["order"] == order).any()]
    if not orders:
        return None
    with house_style():
        figure = new_figure(9.6, 3.6)
        panels = figure.subplots(1, 3)
        names = ("removed", "faithfulness", "completeness")
        titles = ("gap removed by patching them", "faithfulness: only they are kept", "completeness: what is left")
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
            axes.set_xlabel("features")
            for level in (0, 1):
                axes.axhline(level, color="0.85", linewidth=0.8, zorder=0)
        _reference(panels[0], curves)
        panels[0].set_ylabel("share")
        panels[1].set_ylim(*_with_unit_range(panels[1]))
        panels[2].set_ylim(*_with_unit_range(panels[2]))
        panels[0].legend(fontsize=7, frameon=False)
        figure.suptitle(figure_text(f"{show_token(topic, 30)}: {_half_text(curves)}"), x=0.01, ha="left", fontsize=10)
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
