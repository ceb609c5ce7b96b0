"""Suppression: what the last third of the layers does to the right answer, and what scaling its suppressors does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from saeattr.recall.claims import Claim
from saeattr.recall.crossed import COUNTED, times_chosen
from saeattr.recall.suppression.parts import measure_suppression, part_names, summarise_parts
from saeattr.recall.suppression.scaling import summarise_scaling, suppression_claims
from saeattr.study.recall.part import FactStage, Reading, RecallPart
from saeattr.study.results import Study
from saeattr.study.stage import Outcome, Work
from saeattr.tables import RECALL_PARTS, RECALL_SCALED, RECALL_SCALING, RECALL_SUPPRESSORS, RECALL_WRITES, Table


@dataclass(frozen=True)
class Suppression(FactStage):
    """The last third of the layers, write by write and part by part."""

    name: ClassVar[str] = "recall_suppression"
    joined: ClassVar[tuple[Table, ...]] = (RECALL_WRITES, RECALL_PARTS, RECALL_SCALED)

    def run(self, work: Work) -> Outcome:
        writes, parts, scaled, told = measure_suppression(work.task)
        tables = {RECALL_WRITES.name: writes, RECALL_PARTS.name: parts, RECALL_SCALED.name: scaled}
        return Outcome(tables, [f"suppression: {line}" for line in told])


def derive(study: Study, reading: Reading) -> Mapping[Table, pd.DataFrame]:
    """Parts over all facts with how often they were chosen, and every factor."""
    parts, scaled = study.recall(RECALL_PARTS), study.recall(RECALL_SCALED)
    if parts.empty:
        return {RECALL_SUPPRESSORS: RECALL_SUPPRESSORS.empty(), RECALL_SCALING: RECALL_SCALING.empty()}
    found = summarise_parts(parts)
    names = pd.Series([part_names([address]) for address in zip(found["layer"], found["head"], strict=True)])
    counts = {column: times_chosen(scaled, "parts", names, chosen) for column, chosen in COUNTED.items()}
    found = found.assign(**counts).sort_values("direct_log_odds", kind="stable")
    return {RECALL_SUPPRESSORS: RECALL_SUPPRESSORS.frame(found), RECALL_SCALING: summarise_scaling(scaled)}


def claims(study: Study) -> list[Claim]:
    """Nothing where nothing was measured."""
    measured = (study.recall(table) for table in (RECALL_WRITES, RECALL_PARTS, RECALL_SCALED))
    return suppression_claims(*measured)


PART = RecallPart(
    "suppression",
    "whether the last layers lower the right answer, and what they are without that",
    lambda groups: [Suppression(groups)],
    derive,
    claims,
)
