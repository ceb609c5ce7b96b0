"""Figures inside the page: PNG with a palette of at most 256 colours, a third of the size of a plain PNG."""

from __future__ import annotations

import base64
import io
import warnings

from matplotlib.figure import Figure
from PIL import Image

from saeattr.report.page.write import InlineFigure
from saeattr.report.style import house_style

#: Twice the CSS resolution, so that text stays sharp on a dense screen.
DPI = 150
CSS_DPI = 80


def inline_figure(figure: Figure, section: str, caption: str = "") -> InlineFigure:
    """A matplotlib figure as a picture in the page; its title becomes the alternative text."""
    plain = io.BytesIO()
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(plain, format="png", dpi=DPI)
    with Image.open(plain) as picture:
        small = picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    small.save(packed, format="png", optimize=True)
    source = "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()
    text = figure_title(figure)
    width, height = (round(size * CSS_DPI / DPI) for size in small.size)
    return InlineFigure(section, caption, text, source, width, height)


def figure_title(figure: Figure) -> str:
    """The words of the figure's title, without the signs that matplotlib needs."""
    title = figure.get_suptitle()
    for axes in figure.axes:
        title = title or axes.get_title("left")
    return " ".join(title.replace(r"\$", "$").split())
