"""The figures of a recall study, and what they are drawn from: the tables of its folder ``recall``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from matplotlib.figure import Figure

from saeattr.reporting.figures import recall_patch, recall_steering
from saeattr.reporting.figures.figure import StudyFigure
from saeattr.study.results import RECALL_FOLDER, Study
from saeattr.tables import RECALL_CURVES, RECALL_RELEASE, RECALL_STEERING, Table

SHARES = (
    "Share of the swing that a patch moves towards the run it was taken from: 0 nothing, 1 all. Before layer 0 the "
    "entity has all and the final position nothing, by construction."
)
DAMAGE = (
    "A point is a fact. The stream at the entity has all that differs at layer 0, so no point of it is below the line."
)

STEERED = (
    "x + strength * (x_hat of the other entity's prompt - x_hat of the fact's), error term kept. Controls are as long, "
    "token by token, and counted by this fact's other answer; the swapped activation is the ceiling."
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
    for name, draw in (("recall-steering", _steering), ("recall-steering-features", _steering_features)):
        yield from _figure(study, name, (RECALL_STEERING,), draw, STEERED)


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


def _steering(study: Study) -> Figure | None:
    return recall_steering.layer_figure(study.recall(RECALL_STEERING))


def _steering_features(study: Study) -> Figure | None:
    return recall_steering.features_figure(study.recall(RECALL_STEERING))
