"""One look for all figures, and saving them: PNG and SVG, the same bytes for the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import seaborn
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from saeattr.store import replacing

CLEAN, CORRUPTED = "#0173b2", "#de8f05"
#: A cell for which there is no number.
NOTHING = "#cbcbcb"
GRID = "0.35"

_SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "saeattr",
    "svg.fonttype": "path",
}


@contextmanager
def house_style() -> Iterator[None]:
    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure (inches) outside pyplot: nothing global holds on to it."""
    return Figure(figsize=(width, height), layout="constrained")


def effect_map() -> Colormap:
    """Blue below zero, red above, light at zero; grey where there is no number."""
    return seaborn.color_palette("vlag", as_cmap=True).with_extremes(bad=NOTHING)


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write NAME.png and NAME.svg whole or not at all."""
    with house_style(), warnings.catch_warnings():
        # A script that the font lacks is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        with replacing(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=200)
        with replacing(folder / f"{name}.svg") as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
