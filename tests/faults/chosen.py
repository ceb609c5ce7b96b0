"""How many cases are tried: a few that a seed draws in ``make test``, what half an hour allows in ``make faults``."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

ASKED = os.environ.get("SAEATTR_FAULTS", "0")
#: The share of the cases that is tried (``all``, or such as 0.1); with none, a few of each test; with ``each``, all of
#: those too of which ``all`` tries only so many.
SHARE = 1.0 if ASKED in ("all", "each") else float(ASKED)
SEED = int(os.environ.get("SAEATTR_FAULTS_SEED", "0"))

T = TypeVar("T")


def some(cases: Sequence[T], few: int, what: str, most: int | None = None) -> list[T]:
    """Those of ``cases`` that are tried, in their order.

    Args:
        few: how many at least; most: how many where ``all`` are asked for (all of them by default).
        what: each has a draw of its own.
    """
    number = min(len(cases), _number(few, len(cases) if most is None or ASKED == "each" else most))
    return [cases[nth] for nth in sorted(_draw(what).sample(range(len(cases)), number))]


def moments(few: int, many: int, what: str) -> list[float]:
    """Moments of a run as shares of its time: one in each of as many equal parts."""
    number, draw = _number(few, many), _draw(what)
    return [(nth + draw.random()) / number for nth in range(number)]


def kinds(names: Iterable[T], few: Iterable[T]) -> list[T]:
    """All kinds of a fault, or the few that ``make test`` tries."""
    return list(names) if SHARE else list(few)


def _number(few: int, many: int) -> int:
    return max(few, round(SHARE * many))


def _draw(what: str) -> random.Random:
    return random.Random(f"{SEED} {what}")
