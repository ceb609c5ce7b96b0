"""The phases of recall over layers, ranks by the logit lens, and layers patched together against single ones."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.recall.localisation.curves import mean_curves
from saeattr.recall.phases.answer_lens import PLACES
from saeattr.recall.phases.ranges import ABSENT, PHASES
from saeattr.recall.phases.redundancy import all_layers
from saeattr.reporting.figures.style import NOTHING, PALETTE, figure_text, house_style, new_figure

#: Letters of a title in an inch.
LETTERS = 13
#: What the lens is asked for: the columns' ending, what it is, and its colour.
ASKED = (("clean", "answer", PALETTE[0]), ("corrupt", "other's answer", PALETTE[1]), ("entity", "entity", PALETTE[2]))


def phase_figure(curves: pd.DataFrame, phases: pd.DataFrame) -> Figure | None:
    """Noising: the four mean curves, and below them each phase's layers; None without phases."""
    own = phases[phases["direction"] == "noising"].set_index("phase")
    if own.empty:
        return None
    means = mean_curves(curves[curves["direction"] == "noising"])
    with house_style():
        figure = new_figure(7.6, 5.4)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.6, 1.0])
        for at, phase in enumerate(PHASES):
            colour, row = PALETTE[at], own.loc[phase.name]
            line = means[(means["component"] == phase.component) & (means["place"] == phase.place)]
            label = f"{phase.name}: {phase.component} at {phase.place}"
            above.plot(line["layer"], line["share"], color=colour, marker="o", markersize=4, label=label)
            above.fill_between(line["layer"], line["share_low"], line["share_high"], color=colour, alpha=0.2, lw=0)
            _bar(below, len(PHASES) - 1 - at, row, colour)
        above.axhline(0, color="0.85", linewidth=0.8, zorder=0)
        above.set_ylabel("share of the swing that the layer moves")
        above.legend(frameon=False, fontsize=8)
        below.set_yticks(range(len(PHASES)), [_named(own.loc[phase.name]) for phase in reversed(PHASES)])
        below.set_ylim(-0.6, len(PHASES) - 0.4)
        below.set_xlabel("layer")
        below.set_xlim(-0.6, int(own["n_layers"].iloc[0]) - 0.4)
        below.xaxis.get_major_locator().set_params(integer=True)
        _title(figure, _phase_text(own), 7.6)
    return figure


def _bar(axes: Axes, height: float, row: pd.Series, colour: str) -> None:
    """A phase's range as a bar, its centre as a dot, and the intervals of begin, end and centre as thin lines."""
    if np.isnan(row["begin"]):
        return
    weak = row["carried"] < ABSENT
    shown = NOTHING if weak else colour
    axes.barh(height, row["end"] - row["begin"] + 1, left=row["begin"] - 0.5, height=0.42, color=shown, alpha=0.55)
    axes.plot(row["centre"], height, "o", color=shown if weak else "black", markersize=4)
    for name, edge, up in (("begin", -0.5, -0.27), ("end", 0.5, 0.27), ("centre", 0.0, 0.0)):
        ends = [row[f"{name}_low"] + edge, row[f"{name}_high"] + edge]
        axes.plot(ends, [height + up] * 2, color=shown if weak else "black", linewidth=1.0)


def _named(row: pd.Series) -> str:
    """A phase and what it carries, as a label."""
    return f"{row.name}\ncarries {row['carried']:.2f}" + (", too little" if row["carried"] < ABSENT else "")


def _phase_text(own: pd.DataFrame) -> str:
    said = []
    for phase, row in own.iterrows():
        if row["carried"] >= ABSENT:
            same = row["begin"] == row["end"]
            said.append(
                f"{phase} in layer{'' if same else 's'} {row['begin']:.0f}" + ("" if same else f" to {row['end']:.0f}")
            )
    first = own.iloc[0]
    return f"noising, {first['n_facts']} facts, {first['n_layers']} layers: {', '.join(said)}"


def lens_figure(lens: pd.DataFrame, answers: pd.DataFrame) -> Figure | None:
    """Clean runs: mean log P and median rank by depth, at three places; None without a lens."""
    own = lens[lens["run"] == "clean"]
    if own.empty:
        return None
    # Behind attention is halfway through its layer.
    inside = own["component"].map({"resid_pre": 0.0, "resid_mid": 0.5, "resid_post": 1.0})
    own = own.assign(depth=own["layer"] + inside)
    with house_style():
        figure = new_figure(9.6, 5.0)
        panels = figure.subplots(2, len(PLACES), sharex=True, sharey="row")
        for column, place in enumerate(PLACES):
            at_place = own[own["place"] == place].groupby("depth")
            for name, label, colour in ASKED:
                log_p, rank = at_place[f"log_p_{name}"], at_place[f"rank_{name}"]
                means, sd = log_p.mean(), log_p.std()
                panels[0][column].plot(means.index, means, color=colour, marker=".", label=label)
                panels[0][column].fill_between(means.index, means - sd, means + sd, color=colour, alpha=0.15, lw=0)
                quarters = [rank.quantile(part) for part in (0.25, 0.5, 0.75)]
                panels[1][column].plot(quarters[1].index, quarters[1], color=colour, marker=".")
                panels[1][column].fill_between(
                    quarters[0].index, quarters[0], quarters[2], color=colour, alpha=0.15, lw=0
                )
            panels[0][column].set_title(PLACE_WORDS[place], fontsize=9)
            panels[1][column].set_xlabel("layers passed")
        panels[1][0].set_yscale("log")
        panels[1][0].invert_yaxis()
        panels[0][0].set_ylabel("log P (nats), mean and s.d.")
        panels[1][0].set_ylabel("rank, median and quartiles")
        panels[0][0].legend(frameon=False, fontsize=8)
        panels[1][0].xaxis.get_major_locator().set_params(integer=True)
        counts = answers["jump_layer"].value_counts().sort_index()
        jumps = ", ".join(f"{layer} ({count})" for layer, count in counts.items())
        said = f"{len(answers)} clean prompts: P(answer) at the final position jumps in layer {jumps} (facts)"
        _title(figure, f"logit lens of {said}", 9.6)
    return figure


PLACE_WORDS = dict(
    zip(PLACES, ("at the entity's last token", "at the token behind it", "at the final position"), strict=True)
)


def joint_figure(joint: pd.DataFrame) -> Figure | None:
    """Joint against summed share of every window, a panel for each component and place; None without windows."""
    panels = list(joint.groupby(["component", "place"], sort=False))
    if not panels:
        return None
    sizes = sorted(joint["n_together"].unique())
    with house_style():
        figure = new_figure(3.4 * len(panels), 3.7)
        grid = np.atleast_1d(figure.subplots(1, len(panels), sharex=True, sharey=True))
        ends = [min(0.0, joint[["joint", "summed"]].min().min()), joint[["joint_high", "summed_high"]].max().max()]
        for axes, ((component, place), own) in zip(grid, panels, strict=True):
            for mark, direction in (("o", "noising"), ("s", "denoising")):
                part = own[own["direction"] == direction]
                _points(axes, part, mark, sizes)
            axes.plot(ends, ends, color="0.6", linewidth=0.8, zorder=0)
            axes.set_title(f"{component} at {place}", fontsize=9)
            axes.set_xlabel("sum of single layers (share of the swing)")
        figure.axes[0].set_ylabel("layers together (share of the swing)")
        _legend(figure.axes[0], sizes)
        _title(figure, _joint_text(joint), 3.4 * len(panels))
    return figure


def _points(axes: Axes, part: pd.DataFrame, mark: str, sizes: list[int]) -> None:
    for row in part.to_dict("records"):
        colour = PALETTE[sizes.index(row["n_together"]) % len(PALETTE)]
        axes.errorbar(
            row["summed"],
            row["joint"],
            xerr=[[row["summed"] - row["summed_low"]], [row["summed_high"] - row["summed"]]],
            yerr=[[row["joint"] - row["joint_low"]], [row["joint_high"] - row["joint"]]],
            fmt=mark,
            markersize=4,
            elinewidth=0.6,
            color=colour,
            markerfacecolor=colour if mark == "o" else "white",
        )


def _legend(axes: Axes, sizes: list[int]) -> None:
    for at, size in enumerate(sizes):
        axes.plot([], [], "o", color=PALETTE[at % len(PALETTE)], markersize=4, label=f"{size} layers")
    axes.plot([], [], "s", color="0.3", markerfacecolor="white", markersize=4, label="hollow: denoising")
    axes.legend(frameon=False, fontsize=7, loc="upper left")


def _joint_text(joint: pd.DataFrame) -> str:
    whole = all_layers(joint[joint["direction"] == "noising"])
    said = [
        f"{row['component']} at {row['place']} {row['joint']:.2f} against {row['summed']:.2f}"
        for row in whole.to_dict("records")
    ]
    return f"all layers together against the sum of single ones, noising: {', '.join(said)}"


def _title(figure: Figure, text: str, width: float) -> None:
    figure.suptitle(figure_text(textwrap.fill(text, int(LETTERS * width))), x=0.01, ha="left", fontsize=10)
