"""What the sources say of recall, as statements that a measurement can break."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saeattr.stats import mean_interval
from saeattr.tables import RECALL_CLAIMS

Verdict = Literal["holds", "broken", "undecided"]
Side = Literal["above", "below"]


@dataclass(frozen=True)
class Claim:
    """A statement, the number that it is about, and the limit at which it breaks.

    Attributes:
        part: the part of the study that measures it; name: unique within the part.
        statement: what is claimed, in a sentence; source: who claims it.
        measure: what ``value`` is, with its unit.
        value, low, high: the measurement with its 95 % interval; NaN ends where there is none.
        side, limit: it holds while the number is on this side of the limit; both are stated before measuring.
        n: facts (or what ``measure`` says) that it rests on.
    """

    part: str
    name: str
    statement: str
    source: str
    measure: str
    value: float
    low: float
    high: float
    side: Side
    limit: float
    n: int

    @property
    def verdict(self) -> Verdict:
        """holds or broken if the whole interval lies on one side of the limit, else undecided."""
        ends = (self.low - self.limit, self.high - self.limit)
        if np.isnan(ends).any() or min(ends) <= 0 <= max(ends):
            return "undecided"
        return "holds" if (min(ends) > 0) == (self.side == "above") else "broken"


def mean_and_ends(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The mean over facts with Student's interval; NaN where it cannot be had."""
    low, high = mean_interval(values[None])
    return float(values.mean()) if len(values) else float("nan"), float(low[0]), float(high[0])


def claims_table(claims: Sequence[Claim]) -> pd.DataFrame:
    """``tables.RECALL_CLAIMS``, a row a claim."""
    rows = [{**dataclasses.asdict(claim), "verdict": claim.verdict} for claim in claims]
    return RECALL_CLAIMS.frame(pd.DataFrame(rows, columns=pd.Index(RECALL_CLAIMS.names)))
