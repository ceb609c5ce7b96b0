"""The figures of lists written under ablation, for the study's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from saeattr.files import slug
from saeattr.generation.summary import pool_groups, summarise
from saeattr.reporting.figures.figure import StudyFigure
from saeattr.reporting.figures.generation import generation_figure
from saeattr.reporting.figures.generation_grid import generation_grid
from saeattr.study.generation import Generating
from saeattr.study.results import Study
from saeattr.tables import GENERATED, GENERATION


def figures(study: Study, in_full: bool) -> Iterator[StudyFigure]:
    """Of one number of features every measure, line by line; of several a grid, of all groups together first.

    Args:
        in_full: whether the report shows the figures of single groups.
    """
    there = [group for group in study.groups if Generating.is_there(study.folder, group)]
    grids = [group for group in there if len(set(study.generation(group)["n_features"])) > 1]
    sources = {group: Generating.path(study.folder, group, GENERATION) for group in there}
    if len(grids) > 1:
        draw = partial(grid_of_groups, study, grids)
        paths = tuple(sources[group] for group in grids)
        yield StudyFigure("generation-grid", paths, draw, "generation", GRID)
    for group in there:
        draw, caption = (grid, GRID) if group in grids else (lines, LINES)
        section = "generation" if in_full else ""
        made = partial(draw, study, group)
        yield StudyFigure(f"generation-{slug(group)}", (sources[group],), made, section, caption, group)


LINES = "Lists written while a site's first features are held at their base value; controls move it as far."
GRID = (
    "A site's first features by |mean effect|, held at their base value while lists are written. A control moves the "
    "activation as far, at the same tokens and steps, along other features (mean over sets)."
)


def lines(study: Study, group: str) -> Figure:
    """What lists of a group become when features are ablated while they are written."""
    return generation_figure(study.generation(group))


def grid(study: Study, group: str) -> Figure | None:
    """Items added in a group, layers x number of features."""
    return generation_grid(study.generation(group), _limit(study))


def grid_of_groups(study: Study, groups: Sequence[str]) -> Figure | None:
    """The same for the lists of several groups pooled: sums over lists, and never over summaries."""
    lists = pd.concat([Generating.read(study.folder, GENERATED, group) for group in groups], ignore_index=True)
    return generation_grid(summarise(pool_groups(lists)), _limit(study))


def _limit(study: Study) -> int | None:
    return study.record["settings"].get("max_new_tokens")
