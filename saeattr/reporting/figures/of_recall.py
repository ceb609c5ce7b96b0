"""The figures of a recall study, and what they are drawn from: the tables of its folder ``recall``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from matplotlib.figure import Figure

from saeattr.reporting.figures import recall_facts, recall_maps, recall_patch, recall_phases
from saeattr.reporting.figures.figure import StudyFigure
from saeattr.study.results import RECALL_FOLDER, Study
from saeattr.tables import (
    RECALL_ANSWERS,
    RECALL_CURVES,
    RECALL_JOINT,
    RECALL_PHASES,
    RECALL_RELEASE,
    RECALL_RESTORED,
    RECALL_WORST,
    Table,
)

SHARES = (
    "Share of the swing that a patch moves towards the run it was taken from: 0 nothing, 1 all. Before layer 0 the "
    "entity has all and the final position nothing, by construction."
)
DAMAGE = (
    "A point is a fact. The stream at the entity has all that differs at layer 0, so no point of it is below the line."
)
TOP = "resid_pre patched at the entity (lines) and at the final position (dashes); in brackets the swing, in logits."
SPREAD = "A point is a fact. At layer 0 the entity has all that differs, so the damage is no less than the swing."
WORST = "Of each fact the layer (or head) whose corrupted activation moves LD most is counted, however little it is."
RESTORED = (
    "A token's clean activation put into the corrupted run: shares of what LD and P(answer) lack there; 1: all. "
    "In brackets: facts with such a token; what comes before the entity is the same in both prompts. "
    "LD is logit(answer) - logit(other answer): it can be restored in part while the answer stays improbable."
)
TOKENS = "The same of three facts, token by token from the first that differs. Rows end at the final position."

PHASES = (
    "Above: mean share of the swing, noising, with Student's 95 % band over facts. Below: the shortest run of layers "
    "that holds 80 % of a phase's summed positive share; the dot is its centre, thin lines are 95 % bootstrap "
    "intervals over facts of begin, end and centre. Grey: it carries too little of the swing to be placed."
)
LENS = (
    "The logit lens after the embedding, behind each attention and behind each layer: means of log P over facts, and "
    "median ranks among all tokens."
)
JOINT = (
    "A point is a window of neighbouring layers: their component put into the other run at once, against the sum of "
    "what each layer does alone. Above the diagonal layers make up for each other; below it they do the same again."
)


def figures(study: Study) -> Iterator[StudyFigure]:
    """What each part of the study shows, part by part."""
    curves = (RECALL_CURVES, RECALL_RELEASE)
    for name, draw, caption in (
        ("recall-curves", _curves, SHARES),
        ("recall-damage", _damage, DAMAGE),
        ("recall-components", _components, SHARES),
        ("recall-heads", _heads, SHARES),
        ("recall-top", _top, TOP),
        ("recall-spread", _spread, SPREAD),
    ):
        yield from _figure(study, name, curves, draw, caption)
    yield from _figure(study, "recall-worst", (RECALL_WORST,), _worst, WORST)
    for name, draw, caption in (("recall-restored", _restored, RESTORED), ("recall-tokens", _tokens, TOKENS)):
        yield from _figure(study, name, (RECALL_RESTORED,), draw, caption)
    yield from _figure(study, "recall-phases", (RECALL_CURVES, RECALL_PHASES), _phases, PHASES)
    yield from _figure(study, "recall-lens", (RECALL_ANSWERS,), _lens, LENS)
    yield from _figure(study, "recall-joint", (RECALL_JOINT,), _joint, JOINT)


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


def _top(study: Study) -> Figure | None:
    return recall_facts.top_figure(study.recall(RECALL_CURVES), _names(study))


def _names(study: Study) -> dict[tuple[str, str], str]:
    """``France: Paris, not Rome`` by category and pair_id, from the user's rows."""
    given = study.given()
    rows = given.to_dict("records") if {"answer", "wrong"} <= set(given) else []
    return {
        (row["group"], row["pair_id"]): f"{row['pair_id']}: {row['answer'][0].strip()}, not {row['wrong'][0].strip()}"
        for row in rows
        if row["answer"] and row["wrong"]
    }


def _spread(study: Study) -> Figure | None:
    return recall_facts.spread_figure(study.recall(RECALL_RELEASE))


def _worst(study: Study) -> Figure | None:
    return recall_facts.worst_figure(study.recall(RECALL_WORST))


def _restored(study: Study) -> Figure | None:
    return recall_maps.roles_figure(study.recall(RECALL_RESTORED))


def _tokens(study: Study) -> Figure | None:
    return recall_maps.facts_figure(study.recall(RECALL_RESTORED))


def _phases(study: Study) -> Figure | None:
    return recall_phases.phase_figure(study.recall(RECALL_CURVES), study.recall(RECALL_PHASES))


def _lens(study: Study) -> Figure | None:
    return recall_phases.lens_figure(study.answer_lens(), study.recall(RECALL_ANSWERS))


def _joint(study: Study) -> Figure | None:
    return recall_phases.joint_figure(study.recall(RECALL_JOINT))
