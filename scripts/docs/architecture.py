"""docs/architecture.svg: what a study's data goes through, and the package that does each step.

python scripts/docs/architecture.py [--png FILE]        # a bitmap beside, to look at
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

PICTURE = Path(__file__).parents[2] / "docs" / "architecture.svg"
#: The picture in pixels; coordinates are in these, from the upper left.
WIDTH, HEIGHT, DPI = 900, 760, 100
COLOURS = {"in": "#e9eef6", "model": "#fdf1dc", "stage": "#e3f1ea", "disk": "#eeeeee", "out": "#f3e8f1"}


@dataclass(frozen=True)
class Box:
    """A step: its package, what it is, and a line or two of what it gives."""

    left: int
    top: int
    width: int
    package: str
    name: str
    text: str
    colour: str
    height: int = 84

    def anchor(self, side: str) -> tuple[float, float]:
        """The middle of a side; ``bottom:0.2`` is a fifth along it."""
        name, _, share = side.partition(":")
        along = float(share or 0.5)
        if name in ("top", "bottom"):
            return self.left + along * self.width, self.top + (self.height if name == "bottom" else 0)
        return self.left + (self.width if name == "right" else 0), self.top + along * self.height


BOXES = {
    "behaviour": Box(20, 20, 250, "behaviours/", "behaviour", "lists, facts: where prompts\ncome from", "in"),
    "pairs": Box(
        325, 20, 250, "behaviours/pair.py", "pairs", "clean and corrupted token ids,\ndecision points, roles", "in"
    ),
    "question": Box(
        630, 20, 250, "runs/question.py", "question", "metric, decision, base,\nmethod and its steps", "in"
    ),
    "runs": Box(
        325,
        150,
        250,
        "runs/  model/",
        "runs",
        "two forwards, one backward: x, g\nand the metric, at every site",
        "model",
    ),
    "exploring": Box(
        20,
        150,
        250,
        "reading/  patching/",
        "first looks",
        "entropy, logit lens, patched\ncomponents; lists (corpus/)",
        "stage",
    ),
    "selection": Box(
        20,
        280,
        250,
        "selection/",
        "layer scores",
        "lens, patched roles, first order:\nwhich sites fit the budget",
        "stage",
    ),
    "saes": Box(20, 410, 250, "saes/", "SAEs, streamed", "one in memory at a time,\nand the next", "model"),
    "attribution": Box(
        325,
        410,
        250,
        "attribution/",
        "attributions",
        "every active feature's estimated\neffect; the error term's",
        "stage",
    ),
    "base": Box(
        630,
        280,
        250,
        "runs/base.py",
        "base",
        "what f becomes; exact effects: the\nlayers above run again",
        "model",
    ),
    "validation": Box(
        630,
        410,
        250,
        "validation/",
        "validation",
        "on fresh pairs, against controls of\nequal length; lists (generation/)",
        "stage",
    ),
    "tables": Box(
        20,
        540,
        860,
        "study/  tables/",
        "tables on disk",
        "each stage's, group by group: STAGE/SLUG/TABLE.parquet, joined on top; what is done is not done again",
        "disk",
        70,
    ),
    "overlap": Box(
        20, 655, 250, "features/", "overlap", "where features fire, and in how\nmany groups they recur", "out"
    ),
    "reporting": Box(325, 655, 250, "reporting/", "figures, page", "what a reader sees, in the\nterminal too", "out"),
    "neuronpedia": Box(630, 655, 250, "neuronpedia/", "Neuronpedia", "links, labels, quick lists,\ndashboards", "out"),
}
#: From, to; a third entry is written beside the arrow.
ARROWS: tuple[tuple[str, str, str], ...] = (
    ("behaviour.right", "pairs.left", ""),
    ("pairs.bottom", "runs.top", ""),
    ("question.bottom:0.3", "runs.right:0.3", ""),
    ("runs.left:0.4", "exploring.right:0.4", ""),
    ("runs.bottom:0.1", "selection.right:0.4", "a few pairs"),
    ("selection.bottom", "saes.top", "chosen sites"),
    ("runs.bottom", "attribution.top", "(x, g)"),
    ("runs.right:0.75", "base.top:0.3", "(x, caches)"),
    ("saes.right", "attribution.left", ""),
    ("attribution.right", "validation.left", "top"),
    ("base.bottom", "validation.top", ""),
    ("base.left:0.8", "attribution.top:0.85", ""),
    ("attribution.bottom", "tables.top:0.5", ""),
    ("validation.bottom", "tables.top:0.855", ""),
    ("tables.bottom:0.145", "overlap.top", ""),
    ("tables.bottom:0.5", "reporting.top", ""),
    ("tables.bottom:0.855", "neuronpedia.top", ""),
    ("overlap.right", "reporting.left", ""),
    ("neuronpedia.left", "reporting.right", "labels"),
)


def draw() -> Figure:
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(HEIGHT, 0)
    axes.set_axis_off()
    for box in BOXES.values():
        draw_box(axes, box)
    for start, stop, label in ARROWS:
        draw_arrow(axes, start, stop, label)
    return figure


def draw_box(axes: Axes, box: Box) -> None:
    shape = FancyBboxPatch(
        (box.left, box.top),
        box.width,
        box.height,
        boxstyle="round,pad=0,rounding_size=6",
        facecolor=COLOURS[box.colour],
        edgecolor="0.45",
        linewidth=1,
    )
    axes.add_patch(shape)
    left, top = box.left + 10, box.top
    axes.text(left, top + 20, box.name, fontsize=11, fontweight="bold", va="center")
    axes.text(
        box.left + box.width - 8,
        top + 20,
        box.package,
        fontsize=8,
        family="monospace",
        color="0.3",
        ha="right",
        va="center",
    )
    axes.text(left, top + 36, box.text, fontsize=9.5, va="top", linespacing=1.35)


def draw_arrow(axes: Axes, start: str, stop: str, label: str) -> None:
    (from_box, from_side), (to_box, to_side) = start.split(".", 1), stop.split(".", 1)
    one, other = BOXES[from_box].anchor(from_side), BOXES[to_box].anchor(to_side)
    arrow = FancyArrowPatch(
        one, other, arrowstyle="-|>", mutation_scale=12, color="0.25", linewidth=1.2, shrinkA=1, shrinkB=1
    )
    axes.add_patch(arrow)
    if label:
        x, y = (one[0] + other[0]) / 2, (one[1] + other[1]) / 2
        axes.text(
            x,
            y,
            label,
            fontsize=8.5,
            ha="center",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--png", type=Path, help="write a bitmap there too")
    options = parser.parse_args(arguments)
    # The same bytes each time: no date, and no random part in the names inside.
    with mpl.rc_context({"svg.hashsalt": "saeattr", "svg.fonttype": "path"}):
        figure = draw()
        figure.savefig(PICTURE, metadata={"Date": None})
        if options.png:
            figure.savefig(options.png)
    print(PICTURE)


if __name__ == "__main__":
    main()
