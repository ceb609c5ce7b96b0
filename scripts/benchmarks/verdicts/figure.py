"""The figure of docs/verdicts.md: false verdicts, recall and coverage, before and now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmarks.verdicts.tabulate import inert_causal, interval_coverage, recall_by_size
from saeattr.reporting.figures.style import house_style, new_figure

COLOURS = {"before": "#de8f05", "after": "#0173b2"}
NAMES = {"before": "before", "after": "now"}
MARKERS = {"quiet background": "^", "few causes": "o", "crowded": "s"}


def draw(planted: pd.DataFrame, studies: pd.DataFrame, out: Path) -> None:
    with house_style():
        figure = new_figure(10.4, 3.9)
        inert, recall, coverage = figure.subplots(1, 3)
        _inert(inert, inert_causal(planted))
        _recall(recall, recall_by_size(planted))
        _coverage(coverage, interval_coverage(planted, []), studies)
        handles, labels = recall.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
        figure.suptitle(
            f"Verdicts on {planted['model'].nunique()} models whose truth was planted (95 % intervals)",
            x=0.01,
            ha="left",
            fontsize=10,
        )
        figure.savefig(out / "verdicts.png", dpi=110)


def _inert(axes: Axes, table: pd.DataFrame) -> None:
    own = table[table["tested_by"] == "planted"]
    kinds = [kind for kind in ("correlate", "frequent", "dead", "all inert") if kind in set(own["kind"])]
    for nth, rule in enumerate(COLOURS):
        mine = own[own["rule"] == rule].set_index("kind").reindex(kinds)
        _points(axes, np.arange(len(kinds)) + 0.16 * (nth - 0.5), mine, rule, "o", "share")
    axes.axhline(0.05, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set_title("inert features called causal (10 pairs)", fontsize=9)
    axes.set_ylim(bottom=-0.005)


def _recall(axes: Axes, table: pd.DataFrame) -> None:
    own = table[(table["tested_by"] == "planted") & (table["acts"] == "every pair")]
    sizes = sorted(own["size"].unique(), key=lambda size: float(size.rstrip(" %")))
    for nth, rule in enumerate(COLOURS):
        for place, (setting, marker) in enumerate(MARKERS.items()):
            mine = own[(own["rule"] == rule) & (own["setting"] == setting)].set_index("size").reindex(sizes)
            mine = mine.assign(low=mine["recall_low"], high=mine["recall_high"])
            at = np.arange(len(sizes)) + 0.12 * (nth - 0.5) + 0.24 * (place - 1)
            _points(axes, at, mine, rule, marker, "recall", f"{NAMES[rule]}, {setting}")
    axes.axhline(0.9, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_xlabel("share of the gap")
    axes.set_ylim(-0.03, 1.03)
    axes.set_title("drivers in every pair called causal (10 pairs)", fontsize=9)


def _coverage(axes: Axes, table: pd.DataFrame, studies: pd.DataFrame) -> None:
    own = table[table["tested_by"] == "top 20"]
    for nth, rule in enumerate(COLOURS):
        mine = own[own["rule"] == rule].set_index("n_pairs").sort_index()
        _points(axes, np.arange(len(mine)) + 0.16 * (nth - 0.5), mine, rule, "o", "share")
        drawn = (
            studies[studies["way"] == {"before": "before", "after": "median"}[rule]].set_index("n_lists").sort_index()
        )
        axes.plot(range(len(drawn)), drawn["coverage"], marker="x", linestyle=":", color=COLOURS[rule])
        axes.set_xticks(range(len(drawn)), [str(n) for n in drawn.index])
    axes.axhspan(0.93, 0.97, color="0.9", zorder=0)
    axes.set_xlabel("pairs (crosses: studies drawn from 1,000 lists)")
    axes.set_title("coverage of 95 % intervals", fontsize=9)


def _points(
    axes: Axes, at: np.ndarray, rows: pd.DataFrame, rule: str, marker: str, value: str, label: str | None = None
) -> None:
    middle = rows[value].to_numpy(dtype=float)
    ends = np.clip([middle - rows["low"].to_numpy(float), rows["high"].to_numpy(float) - middle], 0, None)
    axes.errorbar(at, middle, yerr=ends, fmt=marker, markersize=4, capsize=2, lw=1, color=COLOURS[rule], label=label)
