"""Phases: what the stream would answer by layer, layers patched together, and in which layers recall does what."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from saeattr.behaviours.pair import Pair
from saeattr.recall.claims import Claim
from saeattr.recall.facts.check import aligned_facts
from saeattr.recall.phases.answer_lens import answer_lens
from saeattr.recall.phases.claims import PhaseTables, phase_claims
from saeattr.recall.phases.ranges import concentration, orders, phases
from saeattr.recall.phases.readout import readouts
from saeattr.recall.phases.redundancy import joint_table
from saeattr.recall.phases.windows import window_patches
from saeattr.study.recall.part import FactStage, Reading, RecallPart
from saeattr.study.results import Study
from saeattr.study.stage import Outcome, Work
from saeattr.tables import (
    ANSWER_LENS,
    RECALL_ANSWERS,
    RECALL_CONCENTRATION,
    RECALL_CURVES,
    RECALL_JOINT,
    RECALL_ORDERS,
    RECALL_PHASES,
    RECALL_RELEASE,
    WINDOW_PATCHES,
    Table,
)


@dataclass(frozen=True)
class AnswerLens(FactStage):
    """Rank and log-probability of answers and entity by layer, at three places, in both runs."""

    name: ClassVar[str] = "answer_lens"
    joined: ClassVar[tuple[Table, ...]] = (ANSWER_LENS,)

    def run(self, work: Work) -> Outcome:
        pairs, told = usable_facts(work)
        if not pairs:
            return Outcome(warnings=told)
        return Outcome({ANSWER_LENS.name: answer_lens(dataclasses.replace(work.task, pairs=pairs))}, told)


@dataclass(frozen=True)
class WindowPatches(FactStage):
    """Attention and MLPs of one layer, of neighbouring layers and of all layers put into the other run at once."""

    name: ClassVar[str] = "window_patches"
    joined: ClassVar[tuple[Table, ...]] = (WINDOW_PATCHES,)

    def run(self, work: Work) -> Outcome:
        pairs, _ = usable_facts(work)
        table = window_patches(dataclasses.replace(work.task, pairs=pairs)) if pairs else WINDOW_PATCHES.empty()
        if table.empty:
            return Outcome(warnings=[f"{work.task.lm.name}: no attention or MLP output can be patched in windows"])
        return Outcome({WINDOW_PATCHES.name: table})


def usable_facts(work: Work) -> tuple[list[Pair], list[str]]:
    """The pairs with an entity whose prompts align one to one, and how many others there are."""
    pairs = [pair for pair in aligned_facts(work.task.pairs) if _of_two_tokens(pair)]
    left = len(work.task.pairs) - len(pairs)
    return pairs, [f"{left} of {len(work.task.pairs)} pairs have no entity to read at, or do not align"] if left else []


def _of_two_tokens(pair: Pair) -> bool:
    point = pair.points[-1]
    return len(point.wanted) == len(point.unwanted) == 1


def stages(groups: tuple[str, ...] = ()) -> list[FactStage]:
    """Both, of all facts at once."""
    return [AnswerLens(groups), WindowPatches(groups)]


def derive(study: Study, reading: Reading) -> Mapping[Table, pd.DataFrame]:
    """Readouts and joint effects; phases, their order and how spread out they are, where localisation was run."""
    curves = study.recall(RECALL_CURVES)
    return {
        RECALL_PHASES: phases(curves),
        RECALL_CONCENTRATION: concentration(curves),
        RECALL_ORDERS: orders(curves),
        RECALL_ANSWERS: readouts(study.recall(ANSWER_LENS)),
        RECALL_JOINT: joint_table(study.recall(WINDOW_PATCHES)),
    }


def claims(study: Study) -> list[Claim]:
    """What sources say of when a fact is read, moved and written."""
    names = (RECALL_CURVES, RECALL_RELEASE, RECALL_PHASES, RECALL_ORDERS, RECALL_JOINT)
    return phase_claims(PhaseTables(*(study.recall(table) for table in names)))


PART = RecallPart(
    "phases",
    "in which layers a fact is read, moved and written, what the stream would answer, and layers patched together",
    stages,
    derive,
    claims,
)
