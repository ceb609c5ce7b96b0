"""The figures of patching, and what they are drawn from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from saeattr.files import slug
from saeattr.patching.components import COMPONENTS
from saeattr.reporting.figures import patching
from saeattr.reporting.figures.figure import GROUPS_IN_FULL, StudyFigure
from saeattr.study.patching import HeadMoves, Patching
from saeattr.study.results import Study
from saeattr.tables import HEAD_MOVES

MAPS = (
    "One run's activation put into the other at the positions of a place (or of one head), layers above run again. "
    "Roles that are patched together, and all positions, stand last."
)
SCATTER = "A point is a layer and place (and head), mean over pairs; the line is where estimate and measurement agree."
HEADS = "Corrupted into clean, at the decision. Shares of (corrupted - clean); norms' scales held on the direct path."


def figures(study: Study) -> Iterator[StudyFigure]:
    """A map for each way of patching, then gradients against exact effects, then the heads, group by group."""
    section = "patching" if len(study.groups) <= GROUPS_IN_FULL else ""
    for group in study.groups:
        parts = [part / "patching.parquet" for part in Patching.parts(study.folder, group)]
        stored = tuple(path for path in parts if path.exists())
        if stored:
            table, name = study.patching(group), slug(group)
            for by, direction in table[["by", "direction"]].drop_duplicates().itertuples(index=False, name=None):
                of = (study, group, by, direction)
                for what, draw, caption in (
                    ("maps", partial(_maps, *of, inside=False), MAPS),
                    ("attention", partial(_maps, *of, inside=True), MAPS),
                    ("gradient", partial(_scatter, *of), SCATTER),
                ):
                    yield StudyFigure(f"patching-{what}-{name}-{by}-{direction}", stored, draw, section, caption, group)
        moves = HeadMoves.path(study.folder, group, HEAD_MOVES)
        if moves.exists():
            drawn = partial(_heads, study, group)
            yield StudyFigure(f"patching-heads-{slug(group)}", (moves,), drawn, section, HEADS, group)


def _of(study: Study, group: str, by: str, direction: str) -> pd.DataFrame:
    table = study.patching(group)
    return table[(table["by"] == by) & (table["direction"] == direction)]


def _maps(study: Study, group: str, by: str, direction: str, inside: bool) -> Figure | None:
    """What was measured, or else what was estimated: of what is inside attention, or of what enters and leaves it."""
    table = _of(study, group, by, direction)
    own = table[[(COMPONENTS[name].heads != "none") == inside for name in table["component"]]]
    exact = own[own["method"] == "exact"]
    return patching.effect_maps(exact if len(exact) else own, group)


def _scatter(study: Study, group: str, by: str, direction: str) -> Figure | None:
    return patching.gradient_scatter(_of(study, group, by, direction), group)


def _heads(study: Study, group: str) -> Figure | None:
    return patching.heads_figure(study.head_moves(group), group)
