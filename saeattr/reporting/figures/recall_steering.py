"""Facts steered by their features: share answered otherwise by layer and strength, by kind of site, by how many."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saeattr.recall.steering.flips import STRENGTH
from saeattr.recall.steering.moves import ACTIVATION, ALL, ENTITY, FEATURES, FINAL, OTHER, PLACES, RANDOM, SAME
from saeattr.reporting.figures.style import CLEAN, CORRUPTED, PALETTE, figure_text, house_style, new_figure

#: Colour, line and name of what is not the fact's own features.
ASIDE = {
    ACTIVATION: ("black", "--", "whole activation swapped"),
    SAME: (PALETTE[3], ":", "another fact of the relation"),
    OTHER: (CORRUPTED, ":", "a fact of another relation"),
    RANDOM: (PALETTE[7], ":", "random features"),
}
KINDS = {"resid_post": CLEAN, "attn_z": PALETTE[2], "mlp_out": PALETTE[4]}
TITLES = {ENTITY: "at the entity's tokens", FINAL: "at the final position"}
#: Letters of a title in an inch.
LETTERS = 13


def layer_figure(shares: pd.DataFrame) -> Figure | None:
    """Share of facts answered with the corrupted answer, layer by layer at both places, with controls and ceiling.

    Of resid_post, or else of the first kind that was steered; bands are 95 % (Clopper and Pearson), at strength 1.
    """
    kind = next((name for name in KINDS if (shares["kind"] == name).any()), None)
    if kind is None:
        return None
    own = shares[(shares["kind"] == kind) & (shares["n_features"] == ALL)]
    strengths = sorted(own.loc[own["towards"] == FEATURES, "strength"].unique())
    with house_style():
        figure = new_figure(9.6, 3.9)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, place in zip(panels, PLACES, strict=True):
            here = own[own["place"] == place]
            for at, strength in enumerate(strengths):
                line = here[(here["towards"] == FEATURES) & (here["strength"] == strength)]
                colour = _shade(CLEAN, (at + 1) / len(strengths))
                axes.plot(line["layer"], line["first"], color=colour, marker="o", markersize=4, label=f"x {strength:g}")
                if strength == STRENGTH:
                    axes.fill_between(
                        line["layer"], line["first_low"], line["first_high"], color=colour, alpha=0.2, linewidth=0
                    )
            for towards, (colour, style, name) in ASIDE.items():
                line = here[(here["towards"] == towards) & (here["strength"] == STRENGTH)]
                if len(line):
                    axes.plot(line["layer"], line["first"], color=colour, linestyle=style, label=name)
            axes.set_title(TITLES[place], fontsize=9)
            _of_shares(axes, f"{kind} of layer")
        panels[0].set_ylabel("share of facts, other answer first of all tokens")
        panels[0].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(0.0, 0.62))
        _title(figure, _layer_text(own, kind))
    return figure


def _layer_text(own: pd.DataFrame, kind: str) -> str:
    best = []
    for place in PLACES:
        line = own[(own["place"] == place) & (own["towards"] == FEATURES) & (own["strength"] == STRENGTH)]
        top = line.iloc[int(line["first"].to_numpy().argmax())]
        best.append(f"{place} at most {top['first']:.0%} (layer {top['layer']:.0f})")
    n_facts = int(own["n_facts"].max())
    return f"{kind}: all features of {n_facts} facts set to the other entity's (x 1) give its answer: {', '.join(best)}"


def features_figure(shares: pd.DataFrame) -> Figure | None:
    """At the final position: kinds of site layer by layer at strength 1, and how many features it takes."""
    final = shares[shares["place"] == FINAL]
    kinds = [name for name in KINDS if (final["kind"] == name).any()]
    if not kinds:
        return None
    with house_style():
        figure = new_figure(9.6, 3.9)
        left, right = figure.subplots(1, 2, sharey=True)
        _by_kind(left, final, kinds)
        own = final[(final["kind"] == kinds[0]) & (final["towards"] == FEATURES)]
        layers = sorted(own["layer"].unique())
        middle = own[own["layer"] == layers[len(layers) // 2]]
        counts = [*sorted(count for count in middle["n_features"].unique() if count != ALL), ALL]
        _by_count(right, middle, counts)
        right.set_title(f"{kinds[0]}, layer {layers[len(layers) // 2]}", fontsize=9)
        _title(figure, _features_text(middle, counts))
    return figure


def _by_kind(axes: Axes, final: pd.DataFrame, kinds: list[str]) -> None:
    """Each kind of site layer by layer, all its features and its whole activation."""
    own = final[(final["n_features"] == ALL) & (final["strength"] == STRENGTH)]
    for kind in kinds:
        for towards, style, name in ((FEATURES, "-", "all features"), (ACTIVATION, "--", "activation")):
            line = own[(own["kind"] == kind) & (own["towards"] == towards)]
            axes.plot(
                line["layer"],
                line["first"],
                style,
                color=KINDS[kind],
                marker="o",
                markersize=3,
                label=f"{kind}, {name}",
            )
    axes.set_title(f"all features or the whole activation, x {STRENGTH:g}", fontsize=9)
    _of_shares(axes, "layer")
    axes.set_ylabel("share of facts, other answer first of all tokens")
    axes.legend(frameon=False, fontsize=7, loc="best")


def _by_count(axes: Axes, middle: pd.DataFrame, counts: list[int]) -> None:
    """Growing numbers of features in one layer, a line for each strength."""
    strengths = sorted(middle["strength"].unique())
    for at, strength in enumerate(strengths):
        line = middle[middle["strength"] == strength].set_index("n_features").reindex(counts)
        colour = _shade(CLEAN, (at + 1) / len(strengths))
        axes.plot(range(len(counts)), line["first"], color=colour, marker="o", markersize=4, label=f"x {strength:g}")
    n_moved = middle.loc[middle["n_features"] == ALL, "n_moved"].mean()
    axes.set_xticks(range(len(counts)), [f"all ({n_moved:.0f})" if count == ALL else str(count) for count in counts])
    axes.set_xlabel("features set, the largest first")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _features_text(middle: pd.DataFrame, counts: list[int]) -> str:
    one = middle[middle["strength"] == STRENGTH].set_index("n_features")["first"].reindex(counts)
    told = ", ".join(f"{share:.0%} with {'all' if count == ALL else count}" for count, share in one.items())
    where = f"layer {middle['layer'].iloc[0]}, {int(middle['n_facts'].max())} facts"
    return f"final position: facts answered otherwise by number of features (x {STRENGTH:g}, {where}): {told}"


def _of_shares(axes: Axes, label: str) -> None:
    axes.set_xlabel(label)
    axes.set_ylim(-0.03, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for level in (0, 1):
        axes.axhline(level, color="0.85", linewidth=0.8, zorder=0)


def _shade(colour: str, depth: float) -> tuple[float, ...]:
    """A colour mixed with white: the fainter, the nearer ``depth`` is to 0."""
    weight = 0.25 + 0.75 * depth
    return tuple(float(part) for part in 1 - weight * (1 - np.array(to_rgb(colour))))


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(figure_text(textwrap.fill(text, int(LETTERS * 9.6))), x=0.01, ha="left", fontsize=10)
