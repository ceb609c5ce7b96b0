"""One look for all figures, and saving them: PNG and SVG, the same bytes for the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin

from saeattr.files import replacing

CLEAN, CORRUPTED = "#0173b2", "#de8f05"
#: A cell for which there is no number.
NOTHING = "#cbcbcb"
GRID = "0.35"
#: Ten colours that the colour-blind can tell apart (seaborn's "colorblind").
PALETTE = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9")
#: Every 32nd colour of seaborn's "vlag"; those between are mixed.
_BLUE_TO_RED = ("#2369bd", "#678bbe", "#9baecb", "#cfd4e0", "#faf5f4", "#e7c8c6", "#d39794", "#bf6765", "#a9373b")
#: Dots of a PNG in an inch, and its colours: no figure needs more, and the page carries the same files.
DPI, COLOURS = 160, 256

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
    return LinearSegmentedColormap.from_list("blue to red", _BLUE_TO_RED).with_extremes(bad=NOTHING)


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write NAME.png and NAME.svg, each whole or not at all; the figure's title goes into both as its description."""
    title = figure_title(figure)
    with house_style(), warnings.catch_warnings():
        # A script that the font lacks is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        # Laying out takes longer than drawing, so both files have the layout of the first.
        figure.set_layout_engine("none")
        with replacing(folder / f"{name}.png") as temporary:
            _write_png(canvas, temporary, title)
        with replacing(folder / f"{name}.svg") as temporary:
            # savefig would draw it once more, to find a size that is known.
            FigureCanvasSVG(figure).print_svg(temporary, metadata={"Date": None, "Title": title})


def _write_png(canvas: FigureCanvasAgg, path: Path, title: str) -> None:
    words = PngImagePlugin.PngInfo()
    words.add_itxt("Title", title)
    drawn = Image.frombuffer("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB")
    few = drawn.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(path, format="png", dpi=(DPI, DPI), pnginfo=words)


def figure_title(figure: Figure) -> str:
    """The words of the figure's title, without the signs that matplotlib needs."""
    title = figure.get_suptitle()
    for axes in figure.axes:
        title = title or axes.get_title("left")
    return " ".join(title.replace(r"\$", "$").split())


NEWLINE_SIGN, TAB_SIGN, BLANK_SIGN = "\u23ce", "\u21e5", "\u2423"


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
