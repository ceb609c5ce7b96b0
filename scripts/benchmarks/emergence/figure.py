"""docs/recall-emergence.png: what is known, where it sits and which heads move it, over training steps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes

from benchmarks.emergence.read import STANDS_OUT, by_layer, heads, leading_since, scalars, standing_out
from saeattr.files import replacing
from saeattr.recall.facts.check import ENTITY
from saeattr.recall.localisation.curves import FINAL
from saeattr.reporting.figures.style import PALETTE, house_style, new_figure

#: What the middle panel shows, and where.
PHASES = (("resid_pre", ENTITY), ("mlp_out", ENTITY), ("mlp_out", FINAL))


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Three panels over training steps (on a scale that is linear up to 10 and logarithmic beyond)."""
    z, steps = heads(rows), sorted(rows["step"].unique())
    with house_style():
        figure = new_figure(11, 3.9)
        known, phases, moved = figure.subplots(1, 3)
        _known(known, rows)
        _phases(phases, rows)
        _heads(moved, z)
        for axes in (known, phases, moved):
            axes.set_xscale("symlog", linthresh=10)
            axes.set_xlim(-1, steps[-1] * 1.3)
            axes.set_xticks([0, 10, 100, 1000], ["0", "10", "100", "1000"])
            axes.minorticks_off()
            axes.set_xlabel("training steps")
            axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
        last = str(z.iloc[-1].idxmax())
        n_facts = int(rows.loc[rows["what"] == "z", "n"].iloc[0])
        leads, share = leading_since(z), scalars(rows, "known")["value"]
        figure.suptitle(
            f"Head {last} moves most from step {leads} on, when {share[leads]:.0%} of the rows are known; "
            f"after {steps[-1]} steps it moves {z[last].iloc[-1]:.0%} of the swing\n"
            f"Shares are of the mean swing of {n_facts} facts; where its 95 % interval reaches 0 there are none",
            x=0.01,
            ha="left",
            fontsize=10,
        )
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=100)


def _known(axes: Axes, rows: pd.DataFrame) -> None:
    names = {"known": "known: prefers the right answer, both ways", "first": "right answer first of all tokens"}
    for (what, label), colour in zip(names.items(), PALETTE, strict=False):
        own = scalars(rows, what)
        axes.plot(own.index, own["value"], marker="o", markersize=3, color=colour, label=label)
        axes.fill_between(own.index, own["low"], own["high"], color=colour, alpha=0.2, linewidth=0)
    axes.set_title(f"What is known, share of {int(rows.loc[rows['what'] == 'known', 'n'].iloc[0])} rows", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="upper left")
    axes.set_ylim(-0.05, 1.25)


def _phases(axes: Axes, rows: pd.DataFrame) -> None:
    held, read, written = (by_layer(rows, *one) for one in PHASES)
    line = {"marker": "o", "markersize": 3}
    axes.plot(held.index, held[1], color="black", label="resid_pre at the entity, before layer 1", **line)
    axes.plot(read.index, read.abs().max(axis=1), color="0.6", label="mlp_out at the entity, any layer at most", **line)
    for layer in map(int, written.columns):
        colour = colormaps["viridis"](0.9 * layer / (written.shape[1] - 1))
        axes.plot(written.index, written[layer], color=colour, label=f"mlp_out at the end, layer {layer}", **line)
    axes.set_title("What carries how much of the swing", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="upper left")
    axes.set_ylim(-0.05, 1.25)


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
