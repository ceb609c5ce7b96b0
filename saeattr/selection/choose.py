"""From scores to the SAEs worth having: the set of the largest total score within a budget of bytes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saeattr.errors import UserError
from saeattr.runs.memory import megabytes
from saeattr.saes.formats import SaeFile
from saeattr.selection.limits import Limits
from saeattr.selection.reason import reason
from saeattr.settings import flag
from saeattr.tables import SITE


@dataclass(frozen=True)
class LayerChoice:
    """Which SAEs, and why.

    Attributes:
        chosen: at most one for each site, in the order in which the model computes the sites.
        table: the scores, one row for each SAE offered, with sae_width, sae_bytes and chosen.
        reason: one sentence.
    """

    chosen: list[SaeFile]
    table: pd.DataFrame
    reason: str


def choose_layers(scores: pd.DataFrame, saes: Sequence[SaeFile], limits: Limits, doubling: float = 0.05) -> LayerChoice:
    """The SAEs of the largest total score within the limits, one for each site at most.

    With streaming only two SAEs are in memory at once, so both amounts are of the SAEs that are kept: downloaded, or
    resident. The tighter one of them binds.

    Args:
        scores: as ``score_sites`` returns it, with a row for the site of every SAE.
        saes: the offer; several widths of one site are alternatives.
        doubling: what twice the width of a site's narrowest SAE adds to the score, as a part of it.

    Raises:
        UserError: not even the smallest SAE fits, or no site has a score above 0.
    """
    ordered = sorted(saes, key=lambda sae: (sae.site.order, sae.d_sae))
    by_site = scores.set_index(SITE)
    keys = pd.MultiIndex.from_tuples([(sae.site.layer, sae.site.kind) for sae in ordered], names=SITE)
    table = by_site.loc[keys].reset_index()
    table["sae_width"] = [sae.d_sae for sae in ordered]
    table["sae_bytes"] = [sae.n_bytes for sae in ordered]
    narrowest = table.groupby(SITE)["sae_width"].transform("min")
    values = table["score"] * (1 + doubling * np.log2(table["sae_width"] / narrowest))
    options = [
        Option(sae.site, float(value), sae.n_bytes) for sae, value in zip(ordered, values.to_list(), strict=True)
    ]
    picked = best_options(options, limits.bytes, limits.most)
    if not picked:
        raise UserError(_nothing(table, limits))
    table["chosen"] = [at in picked for at in range(len(ordered))]
    return LayerChoice([ordered[at] for at in picked], table, reason(table, limits))


def _nothing(table: pd.DataFrame, limits: Limits) -> str:
    if limits.most is not None and limits.most < 1:
        return f"at most {limits.most} sites is none: allow 1 or more"
    smallest = int(table["sae_bytes"].min())
    for name in limits.exceeded(1, smallest):
        return (
            f"a limit of {limits.said(name)} is too small: the smallest of those offered needs {megabytes(smallest)}; "
            f"raise {flag(name)}, or name --sites or --layers"
        )
    return "no site has a score above 0: clean and corrupted runs do not differ there, so name the --sites yourself"


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
    # Importing it takes a while, and most studies choose nothing.
    from scipy.optimize import Bounds, LinearConstraint, milp

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
