"""The last layers and the right answer: write by write, part by part, and with parts of them scaled."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.reporting.figures.style import CLEAN, CORRUPTED, PALETTE, figure_text, house_style, new_figure
from saeattr.stats import mean_interval

FACT = ["group", "pair_id"]
SETS = {"all": "suppressors", "first": "lowest part", "third": "last third of the layers"}
#: Parts that have a bar.
SHOWN = 16
#: Letters of a title in an inch.
LETTERS = 13


def suppression_figure(writes: pd.DataFrame, suppressors: pd.DataFrame, scaling: pd.DataFrame) -> Figure | None:
    """Three panels: log odds through the lens, direct effects with intervals, accuracy and confidence by factor.

    Args:
        writes: ``tables.RECALL_WRITES``; suppressors: ``tables.RECALL_SUPPRESSORS``, the lowest first;
            scaling: ``tables.RECALL_SCALING``.
    """
    if writes.empty:
        return None
    width = 10.4
    with house_style():
        figure = new_figure(width, 3.7)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 1.1))
        _lens(left, writes)
        _parts(middle, suppressors.head(SHOWN))
        _factors(right, scaling)
        _title(figure, _text(writes, suppressors), width)
    return figure


def _lens(axes: Axes, writes: pd.DataFrame) -> None:
    """Facts thin, their mean thick with Student's band."""
    wide = writes.pivot_table(index=FACT, columns="step", values="log_odds")
    low, high = mean_interval(wide.to_numpy().T)
    for values in wide.to_numpy():
        axes.plot(wide.columns, values, color=CLEAN, linewidth=0.5, alpha=0.35)
    axes.plot(wide.columns, wide.mean(), color=CLEAN, marker="o", markersize=4)
    axes.fill_between(wide.columns, low, high, color=CLEAN, alpha=0.2, linewidth=0)
    steps = writes.drop_duplicates("step").sort_values("step").to_dict("records")
    names = [f"{row['layer']}.{row['write']}" if row["step"] else f"before {row['layer']}" for row in steps]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    axes.set_ylabel("log odds of the answer (nats)")
    axes.set_title("logit lens after each write", fontsize=9)


def _parts(axes: Axes, shown: pd.DataFrame) -> None:
    """Direct effects, the lowest at the top."""
    names = [f"{row['layer']}.{'mlp' if row['head'] < 0 else row['head']}" for row in shown.to_dict("records")]
    means = shown["direct_log_odds"].to_numpy()
    ends = np.abs(shown[["direct_low", "direct_high"]].to_numpy().T - means)
    colours = [CORRUPTED if mean < 0 else CLEAN for mean in means]
    axes.barh(range(len(shown)), means, xerr=ends, color=colours, error_kw={"linewidth": 0.8})
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color="0.35", linewidth=0.8)
    axes.set_xlabel("direct effect on log odds (nats)")
    axes.set_title("each part; below 0 suppresses", fontsize=9)


def _factors(axes: Axes, scaling: pd.DataFrame) -> None:
    """Accuracy whole, confidence dashed."""
    for at, (chosen, words) in enumerate(SETS.items()):
        own = scaling[scaling["chosen"] == chosen]
        if own.empty:
            continue
        axes.plot(
            own["factor"], own["accuracy"], color=PALETTE[at], marker="o", markersize=4, label=f"{words}: accuracy"
        )
        axes.plot(own["factor"], own["p_top"], color=PALETTE[at], linestyle="--", label=f"{words}: confidence")
    axes.axvline(1, color="0.85", linewidth=0.8, zorder=0)
    axes.set_ylim(0, 1.04)
    axes.set_xlabel("output multiplied by (1: as it is)")
    axes.set_title("scaled at the final position", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="lower right")


def _text(writes: pd.DataFrame, suppressors: pd.DataFrame) -> str:
    wide = writes.pivot_table(index=FACT, columns="step", values="p_answer").mean()
    chosen = int((suppressors["chosen"] > 0).sum())
    return (
        f"P(answer) goes from {wide.iloc[0]:.2f} to {wide.iloc[-1]:.2f} over the last third of the layers; "
        f"{chosen} of {len(suppressors)} parts lower its log odds in the mean of half of the facts "
        f"({suppressors['n_facts'].max()} facts)"
    )


def _title(figure: Figure, text: str, width: float) -> None:
    figure.suptitle(figure_text(textwrap.fill(text, int(LETTERS * width))), x=0.01, ha="left", fontsize=10)
