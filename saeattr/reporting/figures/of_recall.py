"""The figures of a recall study, and what they are drawn from: the tables of its folder ``recall``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from matplotlib.figure import Figure

from saeattr.reporting.figures import recall_mlps, recall_patch, recall_shots
from saeattr.reporting.figures.figure import StudyFigure
from saeattr.study.results import RECALL_FOLDER, Study
from saeattr.tables import (
    RECALL_CURVES,
    RECALL_MLP_FACTS,
    RECALL_MLP_FIT,
    RECALL_MLP_INTERCEPT,
    RECALL_MLP_WEIGHTS,
    RECALL_RELEASE,
    RECALL_SHOT_LENS,
    RECALL_SHOTS,
    Table,
)

SHARES = (
    "Share of the swing that a patch moves towards the run it was taken from: 0 nothing, 1 all. Before layer 0 the "
    "entity has all and the final position nothing, by construction."
)
DAMAGE = (
    "A point is a fact. The stream at the entity has all that differs at layer 0, so no point of it is below the line."
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
    for name, sources, draw, caption in MEASURED:
        paths = tuple(study.folder.table_path(table.name) for table in sources)
        if all(path.exists() for path in paths):
            yield StudyFigure(name, paths, partial(draw, study), "recall", caption)


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


def _mlps(study: Study) -> Figure | None:
    return recall_mlps.mlp_figure(study.recall_mlps(RECALL_MLP_FIT), study.recall_mlps(RECALL_MLP_WEIGHTS))


def _intercepts(study: Study) -> Figure | None:
    return recall_mlps.intercept_figure(study.recall_mlps(RECALL_MLP_INTERCEPT), study.recall_mlps(RECALL_MLP_FACTS))


def _shots(study: Study) -> Figure | None:
    return recall_shots.shot_figure(study.recall_shots(), study.recall_shot_lens())


#: Figures of tables that lie on top of the study.
MEASURED: tuple[tuple[str, tuple[Table, ...], Callable[[Study], Figure | None], str], ...] = (
    (
        "recall-mlps",
        (RECALL_MLP_FIT, RECALL_MLP_WEIGHTS),
        _mlps,
        "Each MLP's output at the final position, regressed on what heads and earlier parts wrote there, with one "
        "coefficient each and an intercept; R2 on facts that the fit has not seen, an intercept alone being 0. Bars: "
        "95 % over answers or relations (bootstrap).",
    ),
    (
        "recall-intercepts",
        (RECALL_MLP_INTERCEPT, RECALL_MLP_FACTS),
        _intercepts,
        "Left: cosine of the intercept, fitted without some facts, with the mean direction from their entity to their "
        "answer; a point a fold. Others: lens rank of entity and answer before an MLP, and with something added.",
    ),
    (
        "recall-shots",
        (RECALL_SHOTS, RECALL_SHOT_LENS),
        _shots,
        "The same facts behind nothing and behind other known facts of their relation. Left: probabilities, mean with "
        "Student's 95 % over facts. Middle: lens ranks at the final position, geometric mean (-1: before layer 0). "
        "Right: the layer in which heads move each fact, a point a fact that is known in all of these prompts.",
    ),
)
