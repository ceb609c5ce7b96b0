"""The figures of a recall study, and what they are drawn from: the tables of its folder ``recall``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from matplotlib.figure import Figure

from saeattr.reporting.figures import recall_movers, recall_patch, recall_suppression
from saeattr.reporting.figures.figure import StudyFigure
from saeattr.study.results import RECALL_FOLDER, Study
from saeattr.tables import (
    RECALL_ATTENTION,
    RECALL_CURVES,
    RECALL_HEADS,
    RECALL_MOVERS,
    RECALL_RELEASE,
    RECALL_REMOVAL,
    RECALL_REMOVED,
    RECALL_SCALING,
    RECALL_SUPPRESSORS,
    RECALL_WRITES,
    Table,
)

SHARES = (
    "Share of the swing that a patch moves towards the run it was taken from: 0 nothing, 1 all. Before layer 0 the "
    "entity has all and the final position nothing, by construction."
)
DAMAGE = (
    "A point is a fact. The stream at the entity has all that differs at layer 0, so no point of it is below the line."
)
MOVED = "Gap: corrupted - clean. OV: the entity's token is among the ten that the head's write of it raises most."
REMOVED = (
    "A dot is a control, in the mean over facts. Movers are chosen on one half of the facts, and shown is what their "
    "removal at the final position does to the other."
)
SUPPRESSED = (
    "Direct effects go straight to the unembedding. Parts are chosen on one half of the facts, scaled in the other."
)


def figures(study: Study) -> Iterator[StudyFigure]:
    """What each part of the study shows, part by part."""
    curves = (RECALL_CURVES, RECALL_RELEASE)
    for name, draw, caption in (
        ("recall-curves", _curves, SHARES),
        ("recall-damage", _damage, DAMAGE),
        ("recall-components", _components, SHARES),
        ("recall-heads", _heads, SHARES),
    ):
        yield from _figure(study, name, curves, draw, caption)
    yield from _figure(study, "recall-movers", (RECALL_MOVERS,), _movers, MOVED)
    yield from _figure(study, "recall-removal", (RECALL_REMOVED,), _removal, REMOVED)
    yield from _figure(study, "recall-suppression", (RECALL_SUPPRESSORS, RECALL_SCALING), _suppression, SUPPRESSED)


def _figure(
    study: Study, name: str, sources: tuple[Table, ...], draw: Callable[[Study], Figure | None], caption: str
) -> Iterator[StudyFigure]:
    """One figure of the section, where its tables are there."""
    paths = tuple(study.folder.root / RECALL_FOLDER / f"{table.name}.parquet" for table in sources)
    if all(path.exists() for path in paths):
        yield StudyFigure(name, paths, partial(draw, study), "recall", caption)


def _curves(study: Study) -> Figure | None:
    return recall_patch.position_figure(study.recall(RECALL_CURVES), study.recall(RECALL_RELEASE))


def _damage(study: Study) -> Figure | None:
    return recall_patch.damage_figure(study.recall(RECALL_CURVES), study.recall(RECALL_RELEASE))


def _components(study: Study) -> Figure | None:
    return recall_patch.component_figure(study.recall(RECALL_CURVES))


def _heads(study: Study) -> Figure | None:
    return recall_patch.head_figure(study.recall(RECALL_CURVES))


def _movers(study: Study) -> Figure | None:
    heads, attention = (study.recall_movers(table) for table in (RECALL_HEADS, RECALL_ATTENTION))
    return recall_movers.movers_figure(study.recall(RECALL_MOVERS), heads, attention)


def _removal(study: Study) -> Figure | None:
    return recall_movers.removal_figure(study.recall(RECALL_REMOVED), study.recall_movers(RECALL_REMOVAL))


def _suppression(study: Study) -> Figure | None:
    writes = study.recall_suppression(RECALL_WRITES)
    return recall_suppression.suppression_figure(writes, study.recall(RECALL_SUPPRESSORS), study.recall(RECALL_SCALING))
