"""The figure of docs/measured/peers.md: seconds by sites, lists and width, peak memory, and ablations."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from benchmarks.peers.contestants import LABELS
from benchmarks.peers.ratios import TimeOf
from benchmarks.peers.settings import ALL
from saeattr.reporting.figures.style import PALETTE, house_style, new_figure

COLOURS = dict(zip([*ALL, "sae-lens at once"], (*PALETTE[:6], "0.4", PALETTE[6]), strict=True))
AXES = {"sites": "sites", "lists": "lists, at 3 sites", "width": "features of the SAE, at 1 site"}


def draw(times: Sequence[TimeOf], measured: Mapping[str, Any], out: Path) -> None:
    """Three panels of time, one of memory and one of ablations."""
    with house_style():
        figure = new_figure(11, 6.4)
        grid = figure.subplots(2, 3)
        for axes, (axis, label) in zip(grid[0], AXES.items(), strict=True):
            draw_growth(axes, [one for one in times if axis in one.axes], axis)
            axes.set_xlabel(label)
        grid[0][0].set_ylabel("seconds")
        draw_memory(grid[1][0], measured)
        draw_ablations(grid[1][1], measured)
        grid[1][2].axis("off")
        patches = [Patch(color=colour, label=LABELS[name]) for name, colour in COLOURS.items()]
        grid[1][2].legend(handles=patches, loc="center", frameon=False)
        out.mkdir(parents=True, exist_ok=True)
        figure.savefig(out / "peers.png", dpi=110)


def draw_growth(axes: Axes, times: Sequence[TimeOf], axis: str) -> None:
    """Seconds, both axes logarithmic; 26 and 78 sites are of another model, so the lines break there."""
    axes.set_title(f"time by {axis}")
    if not times:
        return
    for name in ALL:
        own = sorted((one for one in times if name in one.seconds), key=lambda one: one.at(axis))
        for part in split(own) if axis == "sites" else [own]:
            x, y = [one.at(axis) for one in part], [one.median(name) for one in part]
            style = "--" if name == "floor" else "-"
            axes.plot(x, y, style, marker="o", markersize=4, color=COLOURS[name])
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted({one.at(axis) for one in times})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()


def split(times: Sequence[TimeOf]) -> list[list[TimeOf]]:
    """Those of the model with 12 layers, and those of the one with 26."""
    parts = [[one for one in times if (one.n_sites < 26) == shallow] for shallow in (True, False)]
    return [part for part in parts if part]


def draw_memory(axes: Axes, measured: Mapping[str, Any]) -> None:
    rows = [(*key.split("/")[1:], value["peak"]) for key, value in measured.items() if key.startswith("memory/")]
    settings = list(dict.fromkeys(setting for setting, _, _ in rows))
    for nth, setting in enumerate(settings):
        own = [(name, peak) for at, name, peak in rows if at == setting]
        for place, (name, peak) in enumerate(own):
            axes.bar(nth + 0.16 * (place - (len(own) - 1) / 2), peak / 1024, 0.15, color=COLOURS[name])
    axes.set_xticks(range(len(settings)), settings)
    axes.set_ylabel("peak memory of the process, GiB")
    axes.set_title("peak memory")


def draw_ablations(axes: Axes, measured: Mapping[str, Any]) -> None:
    rows = [row for key, value in measured.items() if key.startswith("ablations/") for row in value]
    for layer, style in zip(sorted({row["layer"] for row in rows}), ("-", ":"), strict=False):
        own = [row for row in rows if row["layer"] == layer]
        for name, colour, label in (("ours", COLOURS["core"], "saeattr"), ("hooked", COLOURS["hooks"], "hooked each")):
            y = [statistics.median(row["seconds"][name]) for row in own]
            x, where = [row["n"] for row in own], f"{label}, layer {layer}"
            axes.plot(x, y, style, marker="o", markersize=4, color=colour, label=where)
    axes.set_xlabel("ablations")
    axes.set_ylabel("seconds")
    axes.set_title("exact effects")
    if rows:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.legend(frameon=False, fontsize=7)
