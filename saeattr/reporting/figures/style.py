"""One look for all figures, and saving them: PNG and SVG, the same bytes for the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import seaborn
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from saeattr.files import replacing

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


NEWLINE_SIGN, TAB_SIGN, BLANK_SIGN = "\u23ce", "\u21e5", "\u2423"


def feature_address(kind: str, layer: int, feature: int) -> str:
    """``resid_post.20/16323``."""
    return f"{kind}.{layer}/{feature}"


def show_token(token: str, longest: int = 18) -> str:
    """A token with its white space made visible, shortened, and without characters that a terminal would obey."""
    shown = token.replace("\n", NEWLINE_SIGN).replace("\t", TAB_SIGN)
    stripped = shown.strip(" ")
    shown = stripped if stripped else BLANK_SIGN * len(shown)
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in shown)
    return shown if len(shown) <= longest else shown[: longest - 1] + "\u2026"


def label_texts(labels: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The labels of those features that have one, as figures and tables write them.

    Args:
        labels: from a feature's address to its label and whether it is doubtful (``read_links(study.folder).labels``).
    """
    return {
        address: f"(doubtful) {known['label']}" if known.get("doubtful") else str(known["label"])
        for address, known in labels.items()
        if known.get("label")
    }


def figure_text(text: str) -> str:
    """Text for matplotlib, which would read what stands between two dollar signs as a formula."""
    return text.replace("$", r"\$")
