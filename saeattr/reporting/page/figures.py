"""The figures of a study in its report: the files of the figures folder, carried in the page."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator
from pathlib import Path

from PIL import Image

from saeattr.progress import OnProgress, quiet
from saeattr.reporting.figures.study import draw_stale, study_figures
from saeattr.reporting.figures.style import DPI
from saeattr.reporting.page.write import InlineFigure
from saeattr.study.results import Study

#: A figure's inch in CSS pixels: half a file's dots, so that text stays sharp on a dense screen.
CSS_DPI = DPI // 2


def sections_with_figures(study: Study) -> set[str]:
    """The sections for which there are tables to draw figures from."""
    return {figure.section for figure in study_figures(study) if figure.section}


def report_figures(
    study: Study, on_progress: OnProgress = quiet, sections: Collection[str] | None = None
) -> Iterator[InlineFigure]:
    """The figures of the page, in order; those that are missing or old are drawn into the figures folder first.

    Args:
        sections: those that the page has; None for all.
    """
    there = [figure for figure in study_figures(study) if figure.section]
    shown = [figure for figure in there if sections is None or figure.section in sections]
    draw_stale(study, shown, on_progress)
    for figure in shown:
        path = study.folder.figures / f"{figure.name}.png"
        # There is none where there was nothing to draw.
        if path.exists():
            yield inline_figure(path, figure.section, figure.caption)


def inline_figure(path: Path, section: str, caption: str = "") -> InlineFigure:
    """A PNG file as a picture in the page; the title in it becomes the alternative text."""
    source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    with Image.open(path) as picture:
        width, height = (round(size * CSS_DPI / DPI) for size in picture.size)
        text = picture.info.get("Title", "")
    return InlineFigure(section, caption, text, source, width, height)
