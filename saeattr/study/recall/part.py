"""What a part of a recall study is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from saeattr.recall.claims import Claim
from saeattr.recall.localisation.curves import UNDER
from saeattr.study.results import Study
from saeattr.study.stage import Outcome, Stage
from saeattr.tables import Table


@dataclass(frozen=True)
class FactStage(Stage):
    """A stage that takes the facts of all categories at once; ``work.task.pairs`` has them.

    Attributes:
        groups: the categories.
    """

    groups: tuple[str, ...] = ()

    opens_saes: ClassVar[bool] = False
    of_all: ClassVar[bool] = True

    def of_groups(self, group: str) -> tuple[str, ...]:
        return self.groups

    def skipped(self, why: str) -> Outcome:
        """Tables without rows and a note: the study goes on, and its other parts with it."""
        return Outcome({table.name: table.empty() for table in self.joined}, [why])


@dataclass(frozen=True)
class Reading:
    """How what was measured is read.

    Attributes:
        under: a fact is released where the damage at its entity stays under this share of its maximum.
    """

    under: float = UNDER


def nothing_derived(study: Study, reading: Reading) -> Mapping[Table, pd.DataFrame]:
    """Of a part whose stages' tables say all."""
    return {}


def nothing_claimed(study: Study) -> list[Claim]:
    """Of a part that no source says anything about."""
    return []


@dataclass(frozen=True)
class RecallPart:
    """One part.

    Attributes:
        name: as ``--parts`` takes it; help: what it asks, in a line.
        stages: for some categories, in order.
        derive: tables of the folder ``recall`` from the study's own; earlier parts' are there (``Study.recall``).
        claims: what its sources say, judged by its tables.
        opens_saes: whether a stage of it does.
    """

    name: str
    help: str
    stages: Callable[[tuple[str, ...]], Sequence[Stage]]
    derive: Callable[[Study, Reading], Mapping[Table, pd.DataFrame]] = nothing_derived
    claims: Callable[[Study], list[Claim]] = nothing_claimed
    opens_saes: bool = False
