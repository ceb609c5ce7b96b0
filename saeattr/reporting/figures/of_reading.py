"""Which figures a study has of entropy and logit lens: of each group, and of all groups together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from matplotlib.figure import Figure

from saeattr.files import slug
from saeattr.reporting.figures.entropy import entropy_figure
from saeattr.reporting.figures.figure import StudyFigure
from saeattr.reporting.figures.lens import lens_by_temperature, lens_figure
from saeattr.reporting.figures.lens_map import lens_map
from saeattr.reporting.figures.style import show_token
from saeattr.reporting.readings import lens_labels, own_temperature, run_words
from saeattr.study.entropy import Entropy
from saeattr.study.lens import Lens
from saeattr.study.results import Study
from saeattr.tables import ENTROPY, LOGIT_LENS

ENTROPIES = (
    "Entropy of the whole vocabulary at the last token of each span. Colour: the request it is read under; dashed: "
    "answers written to the other request. Right: where the difference between the requests changes its level, the "
    "best single step of each pair, tested against its spans in random order."
)
LENSES = (
    "The residual stream after each layer through the final norm and the tokens' unembedding rows. A line is a "
    "position, dark for the last. Grey: from 10 % to 90 % of what sets the last position apart in the end, medians."
)
MAPS = "The same as a map: blue below zero, red above."
WARM = "Lists sampled at several temperatures, in the clean run."


def figures(study: Study) -> Iterator[StudyFigure]:
    """The figures of entropy and of the lens; those of all groups together where there are several."""
    several = len(study.groups) > 1
    for stage, table, kinds in (
        (Entropy, ENTROPY, (("entropy", "entropy", entropies, ENTROPIES),)),
        (
            Lens,
            LOGIT_LENS,
            (
                ("lens", "lens", lens_lines, LENSES),
                ("lens-map", "lens", lens_cells, MAPS),
                ("lens-temperatures", "lens", temperatures, WARM),
            ),
        ),
    ):
        there = [group for group in study.groups if stage.is_there(study.folder, group)]
        for name, section, draw, caption in kinds:
            if several and there:
                joined = (study.folder.table_path(table.name),)
                yield StudyFigure(f"{name}-all", joined, partial(draw, study, None), section, caption)
            # Of single groups the lists sampled at other temperatures are few.
            for group in [] if several and draw is temperatures else there:
                parts = tuple(part / f"{table.name}.parquet" for part in stage.parts(study.folder, group))
                shown = "" if several else section
                yield StudyFigure(f"{name}-{slug(group)}", parts, partial(draw, study, group), shown, caption, group)


def entropies(study: Study, group: str | None) -> Figure | None:
    """Entropy by position in every cell, and where endings set in."""
    return entropy_figure(study.entropy(group), study.entropy_onset(group), _name(study, group), run_words(study))


def lens_lines(study: Study, group: str | None) -> Figure | None:
    """The lens over layers, a line a position."""
    return lens_figure(own_temperature(study.logit_lens(group), study), lens_labels(study), _name(study, group))


def lens_cells(study: Study, group: str | None) -> Figure | None:
    """The lens layer by position."""
    return lens_map(own_temperature(study.logit_lens(group), study), lens_labels(study), _name(study, group))


def temperatures(study: Study, group: str | None) -> Figure | None:
    """The lens by temperature; None where there is one."""
    return lens_by_temperature(study.logit_lens(group), lens_labels(study), _name(study, group))


def _name(study: Study, group: str | None) -> str:
    return f"{len(study.groups)} groups" if group is None else show_token(group, 30)
