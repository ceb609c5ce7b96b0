"""Steering: a fact's features set to another's, at the entity and at the final position, across the depth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from saeattr.recall.claims import Claim
from saeattr.recall.facts.check import aligned_facts
from saeattr.recall.steering.flips import flip_shares, steering_claims, world_claims, world_shares
from saeattr.recall.steering.steered import SIZES, STRENGTHS, Steps, steer_facts
from saeattr.recall.steering.worlds import separator_ids, steer_worlds
from saeattr.study.recall.part import FactStage, Reading, RecallPart
from saeattr.study.results import Study
from saeattr.study.stage import Outcome, Work
from saeattr.tables import RECALL_STEERING, RECALL_WORLDS, STEERED, WORLDS, Table

NAME = "steering"


@dataclass(frozen=True)
class Steering(FactStage):
    """Facts steered at every site of the study, and between worlds at those of resid_post."""

    strengths: tuple[float, ...] = STRENGTHS
    sizes: tuple[int, ...] = SIZES

    name: ClassVar[str] = "steering"
    joined: ClassVar[tuple[Table, ...]] = (STEERED, WORLDS)
    opens_saes: ClassVar[bool] = True

    def run(self, work: Work) -> Outcome:
        pairs = aligned_facts(work.task.pairs)
        if not pairs:
            return Outcome(warnings=["no pair names its entity and aligns token by token: nothing can be steered"])
        task = dataclasses.replace(work.task, pairs=pairs)
        steps = Steps(self.strengths, self.sizes)
        worlds = steer_worlds(task, separator_ids(task.lm))
        return Outcome({STEERED.name: steer_facts(task, steps), WORLDS.name: worlds})


def stages(groups: tuple[str, ...] = ()) -> list[Steering]:
    return [Steering(groups=groups)]


def derive(study: Study, reading: Reading) -> Mapping[Table, pd.DataFrame]:
    """Share of facts flipped, by site, place, way and strength."""
    steered = study.recall(STEERED)
    if steered.empty:
        return {}
    return {RECALL_STEERING: flip_shares(steered), RECALL_WORLDS: world_shares(study.recall(WORLDS))}


def claims(study: Study) -> list[Claim]:
    return [*steering_claims(NAME, study.recall(STEERED)), *world_claims(NAME, study.recall(WORLDS))]


PART = RecallPart(
    NAME,
    "where setting a fact's features to another's flips the answer, against controls of equal length",
    stages,
    derive,
    claims,
    opens_saes=True,
)
