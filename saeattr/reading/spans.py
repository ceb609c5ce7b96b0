"""Where in a pair something is read: runs of one role, such as the k-th item or the line break after it.

Only roles and decision points are known here, so any behaviour's pairs will do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from saeattr.behaviours.pair import BOS, DECISION, Pair


@dataclass(frozen=True)
class Span:
    """Neighbouring positions of one role.

    Attributes:
        role: theirs, or ``decision`` for a decision point.
        number: 1 for the pair's first of this role; from_end: 0 for its last.
        first, last: positions in the clean prompt, both inside.
    """

    role: str
    number: int
    from_end: int
    first: int
    last: int


@dataclass(frozen=True)
class Place:
    """The last position of a span, in both prompts.

    Attributes:
        row: which of the pairs given.
        corrupted: its partner's position; -1 where it has none.
        follows: whether a token of the same text follows it in the clean prompt.
    """

    row: int
    span: Span
    corrupted: int
    follows: bool


def spans(pair: Pair) -> list[Span]:
    """Every span of a pair in order of position, and its decision points.

    A run ends where the role changes, or where another continuation of the prompt begins. BOS makes none: what a model
    says behind it is said of every text.
    """
    found = [(role, first, last) for role, first, last in _runs(pair) if role != BOS]
    found += [(DECISION, point.position, point.position) for point in pair.points]
    counts: dict[str, int] = {}
    numbered = []
    for role, first, last in sorted(found, key=lambda run: (run[2], run[0] == DECISION)):
        counts[role] = counts.get(role, 0) + 1
        numbered.append(Span(role, counts[role], 0, first, last))
    return [dataclasses.replace(span, from_end=counts[span.role] - span.number) for span in numbered]


def _runs(pair: Pair) -> Iterator[tuple[str, int, int]]:
    """Role, first and last position of each run."""
    keys = list(zip(pair.roles, pair.branches or (0,) * len(pair.roles), strict=True))
    first = 0
    for at in range(1, len(keys) + 1):
        if at == len(keys) or keys[at] != keys[first]:
            yield keys[first][0], first, at - 1
            first = at


def places(pairs: Sequence[Pair], roles: Sequence[str] = ()) -> list[Place]:
    """The places of some pairs, in row order.

    Args:
        roles: those wanted; without any, every one.
    """
    return [
        Place(row, span, partner_of(pair, span.last), _follows(pair, span.last))
        for row, pair in enumerate(pairs)
        for span in spans(pair)
        if not roles or span.role in roles
    ]


def roles_of(pairs: Sequence[Pair]) -> list[str]:
    """The roles at which pairs can be read, in the order in which they come."""
    return list(dict.fromkeys(span.role for pair in pairs for span in spans(pair)))


def partner_of(pair: Pair, position: int) -> int:
    """The corrupted prompt's position beside a clean one; -1 for none."""
    if pair.corrupted_ids is None:
        return -1
    return position if pair.partners is None else pair.partners[position]


def _follows(pair: Pair, position: int) -> bool:
    """Behind the last token of a continuation stands nothing, or another continuation."""
    if position + 1 >= len(pair.clean_ids):
        return False
    branches = pair.branches
    return branches is None or branches[position] in (0, branches[position + 1])
