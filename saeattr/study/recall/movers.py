"""Movers: heads that bring the entity to the final position, chosen on half of the facts and removed in the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from saeattr.recall.claims import Claim
from saeattr.recall.crossed import COUNTED, times_chosen
from saeattr.recall.movers.heads import measure_heads, summarise_heads
from saeattr.recall.movers.removal import remove_movers
from saeattr.recall.movers.removed import mover_claims, summarise_removal
from saeattr.study.recall.part import FactStage, Reading, RecallPart
from saeattr.study.results import Study
from saeattr.study.stage import Outcome, Work
from saeattr.tables import RECALL_ATTENTION, RECALL_HEADS, RECALL_MOVERS, RECALL_REMOVAL, RECALL_REMOVED, Table


@dataclass(frozen=True)
class Movers(FactStage):
    """Every head of every fact, and the removal of those that move."""

    name: ClassVar[str] = "recall_movers"
    joined: ClassVar[tuple[Table, ...]] = (RECALL_ATTENTION, RECALL_HEADS, RECALL_REMOVAL)

    def run(self, work: Work) -> Outcome:
        attention, heads = measure_heads(work.task)
        removal, told = remove_movers(work.task, heads, attention)
        tables = {RECALL_ATTENTION.name: attention, RECALL_HEADS.name: heads, RECALL_REMOVAL.name: removal}
        return Outcome(tables, [f"movers: {line}" for line in told])


def derive(study: Study, reading: Reading) -> Mapping[Table, pd.DataFrame]:
    """Heads over all facts with how often they were chosen, and removals beside their controls."""
    heads, removal = study.recall(RECALL_HEADS), study.recall(RECALL_REMOVAL)
    if heads.empty:
        return {RECALL_MOVERS: RECALL_MOVERS.empty(), RECALL_REMOVED: RECALL_REMOVED.empty()}
    found = summarise_heads(heads, study.recall(RECALL_ATTENTION))
    names = found["layer"].astype(str) + "." + found["head"].astype(str)
    counts = {column: times_chosen(removal, "movers", names, chosen) for column, chosen in COUNTED.items()}
    found = found.assign(**counts).sort_values("exact", ascending=False, kind="stable")
    return {RECALL_MOVERS: RECALL_MOVERS.frame(found), RECALL_REMOVED: summarise_removal(removal)}


def claims(study: Study) -> list[Claim]:
    """Nothing where no head was tested."""
    heads, removal = study.recall(RECALL_HEADS), study.recall(RECALL_REMOVAL)
    return mover_claims(study.recall(RECALL_REMOVED), heads, removal)


PART = RecallPart(
    "movers", "which heads move the entity to the final position", lambda groups: [Movers(groups)], derive, claims
)
