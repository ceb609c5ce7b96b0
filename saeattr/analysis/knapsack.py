"""The best set of options within a budget, at most one of each group: an exact 0/1 knapsack by integer programming."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

#: The solver stops within 1e-6 of the best total (an absolute gap), so values are scaled up to this largest one.
_LARGEST = 1e4


@dataclass(frozen=True)
class Option:
    """Something that can be chosen; options of one ``group`` exclude each other."""

    group: Hashable
    value: float
    cost: int


def best_options(options: Sequence[Option], budget: int | None = None, most: int | None = None) -> list[int]:
    """Indices, in order, of the options with the largest total value that cost at most ``budget`` together.

    The budget holds to the last unit. An option without value is never chosen.

    Args:
        budget: in the unit of the costs; None for no limit.
        most: how many may be chosen; None for any number.
    """
    usable = [at for at, one in enumerate(options) if one.value > 0 and (budget is None or one.cost <= budget)]
    if not usable or most == 0:
        return []
    values = np.array([options[at].value for at in usable])
    rows, limits = [], []
    for group in dict.fromkeys(options[at].group for at in usable):
        rows.append([float(options[at].group == group) for at in usable])
        limits.append(1.0)
    if budget is not None:
        # As parts of the budget: bytes would be too large beside the ones of the other rows.
        rows.append([options[at].cost / max(budget, 1) for at in usable])
        limits.append(1.0)
    if most is not None:
        rows.append([1.0] * len(usable))
        limits.append(float(most))
    while True:
        picked = _solve(values, np.array(rows), np.array(limits))
        if budget is None or sum(options[usable[at]].cost for at in picked) <= budget:
            return [usable[at] for at in picked]
        # Within the solver's tolerance, but not within the budget: forbid this set and look again.
        rows.append([float(at in picked) for at in range(len(usable))])
        limits.append(len(picked) - 1.0)


def _solve(values: np.ndarray, rows: np.ndarray, limits: np.ndarray) -> list[int]:
    """The positions chosen under ``rows @ chosen <= limits``."""
    found = milp(
        -_LARGEST * (values / values.max()),
        integrality=np.ones(len(values)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(rows, ub=limits),  # pyright: ignore[reportArgumentType]
        options={"mip_rel_gap": 0.0},
    )
    # Choosing nothing is always allowed, so there is a solution.
    assert found.x is not None, found.message
    return np.flatnonzero(found.x > 0.5).tolist()
