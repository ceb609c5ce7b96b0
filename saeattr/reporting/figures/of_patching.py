"""The figures of patching, and what they are drawn from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from saeattr.files import slug
from saeattr.reporting.figures import patching
from saeattr.reporting.figures.figure import StudyFigure
from saeattr.study.patching import HeadMoves, Patching
from saeattr.study.results import Study

#: With more groups than this, these figures are not in the report: it would grow too large.
GROUPS_IN_FULL = 2
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
                for what, draw, caption in (("maps", _maps, MAPS), ("gradient", _scatter, SCATTER)):
                    named = f"patching-{what}-{name}-{by}-{direction}"
                    drawn = partial(draw, study, group, by, direction)
                    yield StudyFigure(named, stored, drawn, section, caption, group)
        moves = HeadMoves.folder(study.folder, group) / "head_moves.parquet"
        if moves.exists():
            drawn = partial(_heads, study, group)
            yield StudyFigure(f"patching-heads-{slug(group)}", (moves,), drawn, section, HEADS, group)


def _of(study: Study, group: str, by: str, direction: str) -> pd.DataFrame:
    table = study.patching(group)
    return table[(table["by"] == by) & (table["direction"] == direction)]


def _maps(study: Study, group: str, by: str, direction: str) -> Figure | None:
    table = _of(study, group, by, direction)
    # What was measured goes before what was estimated.
    exact = table[table["method"] == "exact"]
    return patching.effect_maps(exact if len(exact) else table, group)


def _scatter(study: Study, group: str, by: str, direction: str) -> Figure | None:
    return patching.gradient_scatter(_of(study, group, by, direction), group)


def _heads(study: Study, group: str) -> Figure | None:
    return patching.heads_figure(study.head_moves(group), group)
