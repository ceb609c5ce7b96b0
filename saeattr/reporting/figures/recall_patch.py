"""Facts patched layer by layer: entity against final position, damage against swing, components and heads."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.recall.localisation.curves import ENTITY, FACT, FINAL, NEVER, STREAM, mean_curves
from saeattr.reporting.figures.cells import share_cells
from saeattr.reporting.figures.style import (
    CLEAN,
    CORRUPTED,
    PALETTE,
    figure_text,
    house_style,
    new_figure,
)

COLOURS = {ENTITY: CLEAN, FINAL: CORRUPTED}
TITLES = {"noising": "corrupted put into the clean run", "denoising": "clean put into the corrupted run"}
#: Letters of a title in an inch.
LETTERS = 13


def position_figure(curves: pd.DataFrame, releases: pd.DataFrame) -> Figure | None:
    """Share of the swing that resid_pre carries before each layer, at the entity and at the final position.

    Thin lines are facts, thick ones their mean with Student's 95 % band; None without a patch of resid_pre.
    """
    stream = curves[(curves["component"] == "resid_pre") & curves["place"].isin(COLOURS)]
    directions = [name for name in TITLES if (stream["direction"] == name).any()]
    if not directions:
        return None
    means = mean_curves(stream)
    with house_style():
        figure = new_figure(1.2 + 3.6 * len(directions), 3.6)
        panels = np.atleast_1d(figure.subplots(1, len(directions), sharey=True))
        for axes, direction in zip(panels, directions, strict=True):
            for place, colour in COLOURS.items():
                own = stream[(stream["direction"] == direction) & (stream["place"] == place)]
                for _, fact in own.groupby(FACT):
                    axes.plot(fact["layer"], fact["share"], color=colour, linewidth=0.5, alpha=0.35)
                mean = means[(means["direction"] == direction) & (means["place"] == place)]
                axes.plot(mean["layer"], mean["share"], color=colour, marker="o", markersize=4, label=f"{place}, mean")
                axes.fill_between(
                    mean["layer"], mean["share_low"], mean["share_high"], color=colour, alpha=0.2, linewidth=0
                )
            axes.set_title(f"{direction}: {TITLES[direction]}", fontsize=9)
            axes.set_xlabel("resid_pre before layer")
            axes.xaxis.get_major_locator().set_params(integer=True)
            for level in (0, 1):
                axes.axhline(level, color="0.85", linewidth=0.8, zorder=0)
        panels[0].set_ylabel("share of the swing that the patch moves")
        panels[0].legend(frameon=False, fontsize=8, loc="center right")
        _title(figure, _released_text(releases), 1.2 + 3.6 * len(directions))
    return figure


def _released_text(releases: pd.DataFrame) -> str:
    own = releases[(releases["direction"] == releases["direction"].iloc[0]) & (releases["place"] == ENTITY)]
    left = own.loc[own["release_layer"] != NEVER, "release_layer"]
    where = ", ".join(f"{layer} ({count})" for layer, count in left.value_counts().sort_index().items())
    return (
        f"{own['direction'].iloc[0]}: {len(left)} of {len(own)} facts leave their entity, before layer {where or '-'}"
    )


def damage_figure(curves: pd.DataFrame, releases: pd.DataFrame) -> Figure | None:
    """Noising: the largest damage over layers against the swing, and against the layer of release; a point a fact.

    The stream at the entity has all that differs at layer 0, so its points lie on the diagonal or above.
    """
    own = releases[(releases["direction"] == "noising") & (releases["place"] == ENTITY)]
    if own.empty:
        return None
    n_layers = int(curves["layer"].max()) + 1
    with house_style():
        figure = new_figure(9.0, 4.1)
        left, right = figure.subplots(1, 2)
        shown = curves[(curves["direction"] == "noising")].assign(swing=curves["clean"] - curves["corrupted"])
        for at, (name, place) in enumerate(_damaging()):
            part = shown[(shown["component"] == name) & (shown["place"] == place)]
            most = part.groupby(FACT).agg(share=("share", "max"), swing=("swing", "first"))
            left.scatter(
                most["swing"], most["share"] * most["swing"], s=14, color=PALETTE[at], label=f"{name}, {place}"
            )
        ends = (0.0, float(own["swing"].max()) * 1.05 or 1.0)
        left.plot(ends, ends, color="0.6", linewidth=0.8, zorder=0)
        left.set(xlabel="swing (logits)", ylabel="largest damage over layers (logits)", xlim=ends)
        left.set_ylim(bottom=0)
        left.legend(frameon=False, fontsize=7, loc="upper left")
        place = own["release_layer"].where(own["release_layer"] != NEVER, n_layers)
        # Facts of one layer side by side, in the order of the table.
        beside = own.groupby(place).cumcount() / own.groupby(place)["swing"].transform("size") - 0.5
        right.scatter(place + 0.5 * beside, own["max_damage"], s=14, color=COLOURS[ENTITY])
        right.set_xticks(range(n_layers + 1), [*map(str, range(n_layers)), "none"])
        right.set(xlim=(-0.6, n_layers + 0.6), xlabel="release layer of the entity")
        right.set_ylabel("largest damage at the entity (logits)")
        right.set_ylim(bottom=0)
        _title(figure, f"largest damage of {len(own)} facts, noising: against the swing and the release layer", 9.0)
    return figure


def _damaging() -> list[tuple[str, str]]:
    return [("resid_pre", ENTITY), ("mlp_out", ENTITY), ("attn_out", FINAL), ("mlp_out", FINAL)]


def component_figure(curves: pd.DataFrame) -> Figure | None:
    """Mean share of each part of each layer, at the final position and at the entity, in both directions."""
    means = mean_curves(curves[curves["component"].isin(STREAM) & curves["place"].isin(COLOURS)])
    panels = [(name, place) for name in TITLES for place in (FINAL, ENTITY)]
    panels = [one for one in panels if (means[["direction", "place"]] == list(one)).all(axis=1).any()]
    if not panels:
        return None
    with house_style():
        figure = new_figure(9.6, 1.0 + 1.9 * ((len(panels) + 1) // 2))
        grid = figure.subplots((len(panels) + 1) // 2, 2, squeeze=False).ravel()
        for axes, (direction, place) in zip(grid, panels, strict=False):
            own = means[(means["direction"] == direction) & (means["place"] == place)]
            cells = own.pivot_table(index="component", columns="layer", values="share").reindex(list(STREAM))
            _map(axes, cells, f"{direction}, {place}")
        n_facts = int(means["n_facts"].max())
        _title(figure, f"share of the swing that each part of a layer moves, mean over {n_facts} facts", 9.6)
    return figure


def head_figure(curves: pd.DataFrame) -> Figure | None:
    """Noising: mean share of every head's z, at the final position and at the entity; None where none was patched."""
    means = mean_curves(curves[(curves["component"] == "z") & (curves["direction"] == "noising")])
    if means.empty:
        return None
    with house_style():
        figure = new_figure(9.6, 1.3 + 0.3 * means["head"].nunique())
        for axes, place in zip(figure.subplots(1, 2), (FINAL, ENTITY), strict=True):
            cells = means[means["place"] == place].pivot_table(index="head", columns="layer", values="share")
            _map(axes, cells, f"z at {place}")
            axes.set_ylabel("head")
        best = means.sort_values("share", ascending=False).iloc[0]
        named = f"{best['layer']}.{best['head']} at {best['place']}"
        _title(figure, f"noising, every head alone: {named} moves most, {best['share']:.2f} in the mean", 9.6)
    return figure


def _map(axes: Axes, cells: pd.DataFrame, title: str) -> None:
    """Numbers in coloured cells, from -1 to 1."""
    share_cells(axes, cells, most_columns=14)
    axes.set_xticks(range(cells.shape[1]), list(map(str, cells.columns)))
    axes.set_yticks(range(cells.shape[0]), list(map(str, cells.index)))
    axes.set_xlabel("layer")
    axes.set_title(title, fontsize=9)


def _title(figure: Figure, text: str, width: float) -> None:
    figure.suptitle(figure_text(textwrap.fill(text, int(LETTERS * width))), x=0.01, ha="left", fontsize=10)
