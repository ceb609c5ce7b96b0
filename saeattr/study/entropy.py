"""The stage that reads entropy along the prompts: under both requests, of answers written to either."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from saeattr.behaviours.pair import DECISION, Pair, distinct_pairs
from saeattr.corpus.read import REVERSED
from saeattr.errors import UserError
from saeattr.reading.endings import entropy_onsets
from saeattr.reading.entropy import CLEAN, CORRUPTED, entropy_rows
from saeattr.reading.spans import roles_of
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import ENTROPY, ENTROPY_ONSET, Table


@dataclass(frozen=True)
class Entropy(Stage):
    """Next-token entropy at the last token of each span.

    Attributes:
        at: the roles of the spans; None for those that the behaviour names (or every one) and the decision points.
    """

    at: tuple[str, ...] | None = None

    name: ClassVar[str] = "entropy"
    joined: ClassVar[tuple[Table, ...]] = (ENTROPY, ENTROPY_ONSET)
    opens_saes: ClassVar[bool] = False

    @property
    def kept_in(self) -> tuple[str, ...]:
        return (REVERSED,)

    def run(self, work: Work) -> Outcome:
        named = work.prepared.behaviour.read_roles
        roles = self.at or ((*named, DECISION) if named else ())
        check_roles(work.task.pairs, roles)
        tables = [entropy_rows(work.task, roles)]
        reversed_pairs, told = pairs_reversed(work)
        if reversed_pairs:
            task = dataclasses.replace(work.task, pairs=reversed_pairs)
            tables.append(entropy_rows(task, roles, CORRUPTED))
        rows = pd.concat(tables, ignore_index=True)
        # Onsets are of the same pairs as the entropies: both are stored together.
        return Outcome({ENTROPY.name: rows, ENTROPY_ONSET.name: entropy_onsets(rows)}, told)


def pairs_reversed(work: Work) -> tuple[list[Pair], list[str]]:
    """The distinct pairs whose answers were written to the corrupted request, made or read; and what is to be said.

    Nothing where the behaviour has none, or the study's own pairs were written by another model.
    """
    settings = work.prepared.settings
    if settings.pairs_of is not None:
        return [], []
    made = work.prepared.behaviour.reversed_pairs(work.group, work.request(REVERSED))
    if made is None:
        return [], []
    words = dict(zip((CLEAN, CORRUPTED), work.prepared.behaviour.run_names(settings), strict=True))
    return distinct_pairs(made.pairs), [f"{line} (written to the {words[CORRUPTED]} request)" for line in made.warnings]


def check_roles(pairs: Sequence[Pair], roles: tuple[str, ...]) -> None:
    """Refuse roles of which the pairs have none.

    Raises:
        UserError: they have none, and which there are.
    """
    known = roles_of(pairs)
    if roles and not set(roles) & set(known):
        raise UserError(
            f"no pair of {pairs[0].group!r} has the role {' or '.join(roles)}: its roles are {', '.join(known)}"
        )
