"""docs/recall-emergence.png: what is known, where it sits and which heads move it, over training steps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes

from benchmarks.emergence.read import STANDS_OUT, by_layer, heads, scalars, standing_out
from saeattr.files import replacing
from saeattr.recall.curves import ENTITY
from saeattr.reporting.figures.style import PALETTE, house_style, new_figure


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Three panels over training steps (on a scale that is linear up to 10 and logarithmic beyond)."""
    z, steps = heads(rows), sorted(rows["step"].unique())
    with house_style():
        figure = new_figure(11, 3.9)
        known, entity, moved = figure.subplots(1, 3)
        _known(known, rows)
        _entity(entity, by_layer(rows, "resid_pre", ENTITY))
        _heads(moved, z)
        for axes in (known, entity, moved):
            axes.set_xscale("symlog", linthresh=10)
            axes.set_xlim(-1, steps[-1] * 1.3)
            axes.set_xticks([0, 10, 100, 1000], ["0", "10", "100", "1000"])
            axes.minorticks_off()
            axes.set_xlabel("training steps")
            axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
        last = z.iloc[-1]
        figure.suptitle(
            f"After {steps[-1]} steps head {last.idxmax()} alone moves {last.max():.0%} of the swing; "
            f"at its first measurable checkpoint, step {z.index[0]}, it moved {z[str(last.idxmax())].iloc[0]:.0%}",
            x=0.01,
            ha="left",
            fontsize=10,
        )
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=110)


def _known(axes: Axes, rows: pd.DataFrame) -> None:
    names = {"known": "known: prefers the right answer, both ways", "first": "right answer first of all tokens"}
    for (what, label), colour in zip(names.items(), PALETTE, strict=False):
        own = scalars(rows, what)
        axes.plot(own.index, own["value"], marker="o", markersize=3, color=colour, label=label)
        axes.fill_between(own.index, own["low"], own["high"], color=colour, alpha=0.2, linewidth=0)
    axes.set_title("What is known, share of 804 rows", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="upper left")
    axes.set_ylim(-0.05, 1.25)


def _entity(axes: Axes, table: pd.DataFrame) -> None:
    colours = colormaps["viridis"]
    for layer in table.columns:
        colour = colours(0.9 * layer / max(table.columns))
        axes.plot(table.index, table[layer], marker="o", markersize=3, color=colour, label=f"before layer {layer}")
    axes.set_title("What resid_pre at the entity carries of the swing", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="center right")


def _heads(axes: Axes, table: pd.DataFrame) -> None:
    named = standing_out(table)
    for name in table.columns:
        if name not in named:
            axes.plot(table.index, table[name], color="0.75", linewidth=0.7)
    for name, colour in zip(named, PALETTE, strict=False):
        axes.plot(table.index, table[name], marker="o", markersize=3, color=colour, label=f"head {name}")
    others = table.shape[1] - len(named)
    axes.plot([], [], color="0.75", linewidth=0.7, label=f"{others} others, each under {STANDS_OUT:.0%}")
    axes.set_title("What a head's z at the final position moves of it", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="upper left")
