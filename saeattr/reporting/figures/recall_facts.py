"""Single facts and categories: the strongest five layer by layer, where categories leave, which layers are worst."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saeattr.recall.localisation.curves import ENTITY, FACT, FINAL, NEVER
from saeattr.reporting.figures.style import CLEAN, PALETTE, figure_text, house_style, new_figure, show_token

#: Facts whose curves are drawn one by one.
TOP = 5
#: Letters of a title in an inch.
LETTERS = 13
#: What is counted: a component at a place.
COUNTED = (("attn_out", FINAL), ("mlp_out", FINAL), ("z", FINAL), ("mlp_out", ENTITY))
#: Bars of a panel, at most.
MOST_BARS = 12


def top_figure(curves: pd.DataFrame, names: Mapping[tuple[str, str], str] | None = None) -> Figure | None:
    """Normalised LD of resid_pre of the facts of the largest swing; None without such a patch.

    Args:
        names: by category and pair_id what a fact is called; by default its pair_id.
    """
    stream = curves[(curves["component"] == "resid_pre") & curves["place"].isin([ENTITY, FINAL])]
    if stream.empty:
        return None
    swings = (stream["clean"] - stream["corrupted"]).groupby([stream[name] for name in FACT]).first()
    top = list(swings.sort_values(ascending=False, kind="stable").index[:TOP])
    directions = list(dict.fromkeys(stream["direction"]))
    width = 1.2 + 3.8 * len(directions)
    with house_style():
        figure = new_figure(width, 4.3)
        panels = np.atleast_1d(figure.subplots(1, len(directions), sharey=True))
        for axes, direction in zip(panels, directions, strict=True):
            own = stream[stream["direction"] == direction]
            for colour, key in zip(PALETTE, top, strict=False):
                fact = own[(own[FACT] == list(key)).all(axis=1)]
                for place, style in ((ENTITY, "-"), (FINAL, "--")):
                    line = fact[fact["place"] == place].sort_values("layer")
                    axes.plot(line["layer"], line["normalised"], style, color=colour, marker="o", markersize=3)
            axes.set_title(direction, fontsize=9)
            axes.set_xlabel("resid_pre before layer")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[0].set_ylabel("normalised LD: 0 reads as clean, 1 as corrupted")
        for colour, key in zip(PALETTE, top, strict=False):
            called = names[key] if names and key in names else str(key[1])
            panels[0].plot([], [], color=colour, label=figure_text(f"{show_token(called, 40)} ({swings[key]:.1f})"))
        for place, style in ((ENTITY, "-"), (FINAL, "--")):
            panels[0].plot([], [], style, color="0.3", label=place)
        figure.legend(frameon=False, fontsize=7.5, loc="outside lower center", ncols=3)
        span = f"{swings[top[-1]]:.1f} to {swings[top[0]]:.1f} logits"
        _title(figure, f"the {len(top)} facts of the largest swing ({span}), entity and final position by layer", width)
    return figure


def spread_figure(releases: pd.DataFrame) -> Figure | None:
    """Noising: release layer and largest damage of every fact by category; None without one.

    The latest release stands on top.
    """
    own = releases[(releases["direction"] == "noising") & (releases["place"] == ENTITY)]
    if own.empty:
        return None
    # A fact that is never released stands behind all layers in which one is.
    last, some = int(own["release_layer"].max()), bool((own["release_layer"] == NEVER).any())
    own = own.assign(release=own["release_layer"].where(own["release_layer"] != NEVER, last + 1))
    order = own.groupby("category")["release"].mean().sort_values(ascending=False, kind="stable").index
    with house_style():
        figure = new_figure(8.6, 1.3 + 0.22 * len(order))
        left, right = figure.subplots(1, 2, sharey=True)
        place = own["category"].map({name: at for at, name in enumerate(order)}) + _beside(own)
        for axes, column, label in (
            (left, "release", "release layer of the entity"),
            (right, "max_damage", "largest damage at the entity (logits)"),
        ):
            axes.scatter(own[column], place, s=10, color=CLEAN, alpha=0.7, linewidths=0)
            middle = own.groupby("category")[column].median().reindex(order)
            at = np.arange(len(order))
            axes.vlines(middle, at - 0.38, at + 0.38, color="black", linewidth=1.2)
            axes.set_xlabel(label)
            axes.grid(axis="y", color="0.94")
            axes.set_axisbelow(True)
        ends = [*map(str, range(last + 1)), *(["none"] if some else [])]
        left.set_xticks(range(len(ends)), ends)
        left.set_xlim(-0.5, len(ends) - 0.5)
        right.set_xlim(left=0)
        left.set_yticks(range(len(order)), [figure_text(show_token(str(name), 30)) for name in order], fontsize=7.5)
        left.set_ylim(len(order) - 0.4, -0.6)
        said = _spread_text(own.groupby("category")["release"])
        _title(figure, f"{len(own)} facts by category, noising (lines: medians): {said}", 8.6)
    return figure


def _spread_text(by_category: Any) -> str:
    """How many categories of several facts have one release layer."""
    several = by_category.nunique()[by_category.size() > 1]
    if several.empty:
        return f"one fact in each of {by_category.ngroups} categories"
    return f"{several.eq(1).sum()} of {len(several)} categories of several facts have one release layer"


def _beside(rows: pd.DataFrame) -> np.ndarray:
    """Heights within a category's band, so that facts of one layer do not hide each other."""
    nth, count = rows.groupby("category").cumcount(), rows.groupby("category")["pair_id"].transform("size")
    return ((nth + 0.5) / count - 0.5).to_numpy(dtype=float) * 0.7


def worst_figure(worst: pd.DataFrame) -> Figure | None:
    """Noising: in how many facts each layer, or head, moves most; None where nothing was patched."""
    noising = worst[worst["direction"] == "noising"]
    of = [(noising["component"] == name) & (noising["place"] == place) for name, place in COUNTED]
    shown = [(f"{name} at {place}", noising[part]) for (name, place), part in zip(COUNTED, of, strict=True)]
    shown = [(name, rows) for name, rows in shown if len(rows)]
    if not shown:
        return None
    n_facts = int(shown[0][1]["n_facts"].sum())
    width = 0.6 + 1.9 * len(shown)
    with house_style():
        figure = new_figure(width, 2.9)
        panels = np.atleast_1d(figure.subplots(1, len(shown), sharey=True))
        for axes, (name, rows) in zip(panels, shown, strict=True):
            _bars(axes, rows, name)
        panels[0].set_ylabel("facts in which it moves most")
        title, first = shown[0][0], shown[0][1].iloc[0]
        said = f"{title}: layer {first['layer']} in {first['n_facts']} of {n_facts} facts"
        _title(figure, f"which layer or head moves most, noising; {said}", width)
    return figure


def _bars(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    """Counts by layer, of heads by layer and head; the largest of too many."""
    rows = rows.sort_values("n_facts", ascending=False, kind="stable")
    more = len(rows) - MOST_BARS
    rows = rows.head(MOST_BARS).sort_values(["layer", "head"])
    heads = rows["head"].ge(0).any()
    names = [f"{row.layer}.{row.head}" if heads else str(row.layer) for row in rows.itertuples()]
    axes.bar(range(len(rows)), rows["n_facts"], color=CLEAN, width=0.7)
    axes.set_xticks(range(len(rows)), names, fontsize=7.5)
    # A single bar is no wider than those of other panels.
    axes.set_xlim(-0.6, max(len(rows), 5) - 0.4)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(("layer.head" if heads else "layer") + (f" (and {more} more)" if more > 0 else ""))


def _title(figure: Figure, text: str, width: float) -> None:
    figure.suptitle(figure_text(textwrap.fill(text, int(LETTERS * width))), x=0.01, ha="left", fontsize=10)
