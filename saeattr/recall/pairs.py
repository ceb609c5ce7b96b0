"""From facts to pairs of the user's own, on which every stage runs: lens, entropy, patching, attribution."""

from __future__ import annotations

from collections.abc import Sequence

from saeattr.behaviours.given.source import GivenRows
from saeattr.behaviours.pair import Pair
from saeattr.recall.check import ENTITY, AlignedFact


def given_rows(facts: Sequence[AlignedFact], name: str) -> GivenRows:
    """The facts as rows of ``--pairs``: categories are groups, the entity is a span, and its tokens' role.

    Written as text (``GivenRows.to_text``) they are a file of pairs.
    """
    return GivenRows(name, tuple(fact.given for fact in facts))


def entity_positions(pair: Pair) -> tuple[int, ...]:
    """Where the entity stands in both prompts of a pair of facts; the last of these has read all of it."""
    return tuple(at for at, role in enumerate(pair.roles) if role == ENTITY)
