"""Which figures stand in the report."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from saeattr.reporting.figures import study as figures
from saeattr.reporting.figures.style import house_style, label_texts
from saeattr.reporting.page.write import InlineFigure
from saeattr.study.results import Study

#: With more groups than this, the figures of single groups stay in the figures folder: the page would grow too large.
GROUPS_IN_FULL = 2


def report_figures(
    study: Study, depth: int, labels: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[InlineFigure]:
    """The figures of the page, in order; ``labels`` as for ``make_report``."""
    for section, caption, figure in _figures(study, depth, label_texts(labels or {})):
        if figure is not None:
            yield inline_figure(figure, section, caption)


def _figures(study: Study, depth: int, labels: dict[str, str]) -> Iterator[tuple[str, str, Figure | None]]:
    several = len(study.groups) > 1
    group = None if several else study.groups[0]
    yield "behaviour", "Mean over pairs with 95 % bootstrap bands.", figures.metric_by_point(study, group)
    kinds = sorted(study.features()["kind"].unique())
    if several:
        yield "overlap", LAYERS, figures.overlap_by_layer(study, depth)
        for kind in kinds:
            yield "overlap", EFFECTS, figures.feature_by_group(study, kind, depth, labels=labels)
            yield "overlap", PRESENCE, figures.feature_presence(study, kind, depth)
            yield "overlap", JACCARD, figures.jaccard_by_layer(study, kind, depth)
            yield "overlap", CLUSTERS, figures.activation_clusters(study, kind)
    if len(study.groups) <= GROUPS_IN_FULL:
        for name in study.groups:
            for kind in kinds:
                yield "group", LISTS, figures.feature_by_pair(study, name, kind, labels=labels)
            yield "group", FOREST, figures.forest(study, name)
            yield "group", SCATTER, figures.effect_scatter(study, name)
            yield "group", CURVES, figures.cumulative(study, name)


LAYERS = "Sets: each group's top features of a site. Chance: sets of the same size and activity, drawn at random."
PRESENCE = "A line is a feature; coloured where it is in the group's top set at its site."
JACCARD = "Groups with like sets stand together. The diagonal (a group with itself) is left out."
CLUSTERS = "A row is a feature, a column a pair. The marks above the matrix say which group a pair is about."
EFFECTS = "Mean effect over a group's pairs. Grey: not among that group's top features."
LISTS = "Effect of each pair, summed over positions. Grey: not active in that pair."
FOREST = "Each feature set to its base value at all its positions, error term kept, layers above run again."
SCATTER = "Every feature that was patched, controls too: what attribution estimated against what was measured."
CURVES = "The first features of each order patched together, across layers; bands: 95 % over pairs."


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
