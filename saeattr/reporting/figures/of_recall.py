"""The figures of a recall study: which there are, what each is drawn from, and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from saeattr.reporting.figures import (
    recall_facts,
    recall_maps,
    recall_mlps,
    recall_movers,
    recall_patch,
    recall_phases,
    recall_shots,
    recall_steering,
    recall_suppression,
)
from saeattr.reporting.figures.figure import StudyFigure
from saeattr.study.results import Study
from saeattr.tables import (
    ANSWER_LENS,
    RECALL_ANSWERS,
    RECALL_ATTENTION,
    RECALL_CURVES,
    RECALL_HEADS,
    RECALL_JOINT,
    RECALL_MLP_FACTS,
    RECALL_MLP_FIT,
    RECALL_MLP_INTERCEPT,
    RECALL_MLP_WEIGHTS,
    RECALL_MOVERS,
    RECALL_PHASES,
    RECALL_RELEASE,
    RECALL_REMOVAL,
    RECALL_REMOVED,
    RECALL_RESTORED,
    RECALL_SCALING,
    RECALL_SHOT_LENS,
    RECALL_SHOTS,
    RECALL_STEERING,
    RECALL_SUPPRESSORS,
    RECALL_WORST,
    RECALL_WRITES,
    Table,
)


@dataclass(frozen=True)
class RecallFigure:
    """One figure.

    Attributes:
        name: of its files.
        draw: from its tables, in their order.
        tables: all of them must be there.
        caption: how to read it.
        named: whether ``draw`` also takes what a reader calls each fact.
    """

    name: str
    draw: Callable[..., Figure | None]
    tables: tuple[Table, ...]
    caption: str
    named: bool = False


SHARES = (
    "Share of the swing that a patch moves towards the run it was taken from: 0 nothing, 1 all. Before layer 0 the "
    "entity has all and the final position nothing, by construction."
)
STEERED = (
    "x + strength * (x_hat of the other entity's prompt - x_hat of the fact's), error term kept. Controls are as long, "
    "token by token, and counted by this fact's other answer; the swapped activation is the ceiling."
)
CURVES = (RECALL_CURVES, RECALL_RELEASE)

#: Part by part.
FIGURES: tuple[RecallFigure, ...] = (
    RecallFigure("recall-curves", recall_patch.position_figure, CURVES, SHARES),
    RecallFigure(
        "recall-damage",
        recall_patch.damage_figure,
        CURVES,
        "A point is a fact. The stream at the entity has all that differs at layer 0, so no point of it is below the "
        "line.",
    ),
    RecallFigure("recall-components", recall_patch.component_figure, (RECALL_CURVES,), SHARES),
    RecallFigure("recall-heads", recall_patch.head_figure, (RECALL_CURVES,), SHARES),
    RecallFigure(
        "recall-top",
        recall_facts.top_figure,
        (RECALL_CURVES,),
        "resid_pre patched at the entity (lines) and at the final position (dashes); in brackets the swing, in logits.",
        named=True,
    ),
    RecallFigure(
        "recall-spread",
        recall_facts.spread_figure,
        (RECALL_RELEASE,),
        "A point is a fact. At layer 0 the entity has all that differs, so the damage is no less than the swing.",
    ),
    RecallFigure(
        "recall-worst",
        recall_facts.worst_figure,
        (RECALL_WORST,),
        "Of each fact the layer (or head) whose corrupted activation moves LD most is counted, however little it is.",
    ),
    RecallFigure(
        "recall-restored",
        recall_maps.roles_figure,
        (RECALL_RESTORED,),
        "A token's clean activation put into the corrupted run: shares of what LD and P(answer) lack there; 1: all. "
        "In brackets: facts with such a token; what comes before the entity is the same in both prompts. "
        "LD is logit(answer) - logit(other answer): it can be restored in part while the answer stays improbable.",
    ),
    RecallFigure(
        "recall-tokens",
        recall_maps.facts_figure,
        (RECALL_RESTORED,),
        "The same of three facts, token by token from the first that differs. Rows end at the final position.",
    ),
    RecallFigure(
        "recall-phases",
        recall_phases.phase_figure,
        (RECALL_CURVES, RECALL_PHASES),
        "Above: mean share of the swing, noising, with Student's 95 % band over facts. Below: the shortest run of "
        "layers that holds 80 % of a phase's summed positive share; the dot is its centre, thin lines are 95 % "
        "bootstrap intervals over facts of begin, end and centre. Grey: it carries too little of the swing to be "
        "placed.",
    ),
    RecallFigure(
        "recall-lens",
        recall_phases.lens_figure,
        (ANSWER_LENS, RECALL_ANSWERS),
        "The logit lens after the embedding, behind each attention and behind each layer: means of log P over facts, "
        "and median ranks among all tokens.",
    ),
    RecallFigure(
        "recall-joint",
        recall_phases.joint_figure,
        (RECALL_JOINT,),
        "A point is a window of neighbouring layers: their component put into the other run at once, against the sum "
        "of what each layer does alone. Above the diagonal layers make up for each other; below it they do the same "
        "again.",
    ),
    RecallFigure(
        "recall-movers",
        recall_movers.movers_figure,
        (RECALL_MOVERS, RECALL_HEADS, RECALL_ATTENTION),
        "Gap: corrupted - clean. OV: the entity's token is among the ten that the head's write of it raises most.",
    ),
    RecallFigure(
        "recall-removal",
        recall_movers.removal_figure,
        (RECALL_REMOVED, RECALL_REMOVAL),
        "A dot is a control, in the mean over facts. Movers are chosen on one half of the facts, and shown is what "
        "their removal at the final position does to the other.",
    ),
    RecallFigure(
        "recall-suppression",
        recall_suppression.suppression_figure,
        (RECALL_WRITES, RECALL_SUPPRESSORS, RECALL_SCALING),
        "Direct effects go straight to the unembedding. Parts are chosen on one half of the facts, and scaled in the "
        "other.",
    ),
    RecallFigure(
        "recall-mlps",
        recall_mlps.mlp_figure,
        (RECALL_MLP_FIT, RECALL_MLP_WEIGHTS),
        "Each MLP's output at the final position, regressed on what heads and earlier parts wrote there, with one "
        "coefficient each and an intercept; R2 on facts that the fit has not seen, an intercept alone being 0. Bars: "
        "95 % over answers or relations (bootstrap).",
    ),
    RecallFigure(
        "recall-intercepts",
        recall_mlps.intercept_figure,
        (RECALL_MLP_INTERCEPT, RECALL_MLP_FACTS),
        "Left: cosine of the intercept, fitted without some facts, with the mean direction from their entity to their "
        "answer; a point a fold. Others: lens rank of entity and answer before an MLP, and with something added.",
    ),
    RecallFigure(
        "recall-shots",
        recall_shots.shot_figure,
        (RECALL_SHOTS, RECALL_SHOT_LENS),
        "The same facts behind nothing and behind other known facts of their relation. Left: probabilities, mean with "
        "Student's 95 % over facts. Middle: lens ranks at the final position, geometric mean (-1: before layer 0). "
        "Right: the layer in which heads move each fact, a point a fact that is known in all of these prompts.",
    ),
    RecallFigure("recall-steering", recall_steering.layer_figure, (RECALL_STEERING,), STEERED),
    RecallFigure("recall-steering-features", recall_steering.features_figure, (RECALL_STEERING,), STEERED),
)


def figures(study: Study) -> Iterator[StudyFigure]:
    """Those whose tables are there."""
    for one in FIGURES:
        paths = tuple(map(study.recall_path, one.tables))
        if all(path.exists() for path in paths):
            yield StudyFigure(one.name, paths, partial(_draw, study, one), "recall", one.caption)


def _draw(study: Study, one: RecallFigure) -> Figure | None:
    tables = map(study.recall, one.tables)
    return one.draw(*tables, fact_names(study)) if one.named else one.draw(*tables)


def fact_names(study: Study) -> dict[tuple[str, str], str]:
    """``France: Paris, not Rome`` by category and pair_id, from the user's rows."""
    given = study.given()
    rows = given.to_dict("records") if {"answer", "wrong"} <= set(given) else []
    return {
        (row["group"], row["pair_id"]): f"{row['pair_id']}: {row['answer'][0].strip()}, not {row['wrong'][0].strip()}"
        for row in rows
        if row["answer"] and row["wrong"]
    }
