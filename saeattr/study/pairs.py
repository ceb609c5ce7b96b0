"""The first stage: the behaviour's pairs, stored as what all other stages read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from saeattr.behaviours.behaviour import Request
from saeattr.behaviours.pair import Pair
from saeattr.behaviours.table import pairs_from_rows, pairs_to_rows
from saeattr.study.folder import StudyFolder
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import PAIRS, Table


@dataclass(frozen=True)
class MakingPairs(Stage):
    """A group's pairs, as the behaviour makes them."""

    name: ClassVar[str] = "pairs"
    joined: ClassVar[tuple[Table, ...]] = (PAIRS,)

    def run(self, work: Work) -> Outcome:
        prepared, task = work.prepared, work.task
        request = Request(
            task.lm, prepared.settings, prepared.contrast, work.study.lists, task.pace.batch_size, task.on_step
        )
        made = prepared.behaviour.pairs(work.group, request)
        return Outcome({"pairs": pairs_to_rows(made.pairs, task.lm.tokenizer)}, made.warnings)


def stored_pairs(study: StudyFolder, groups: Sequence[str]) -> list[Pair]:
    """The pairs of some groups, in order.

    Raises:
        UserError: the table is damaged.
    """
    return [pair for group in groups for pair in pairs_from_rows(MakingPairs.read(study, PAIRS, group))]
