"""Claims: a verdict needs the whole interval on one side of the limit."""

from __future__ import annotations

import math

import pytest

from saeattr.recall.claims import Claim, Side, claims_table
from saeattr.tables import RECALL_CLAIMS


def claim(low: float, high: float, side: Side = "above", limit: float = 0.5) -> Claim:
    measured = (low + high) / 2
    return Claim("movers", "one", "it moves", "a paper", "share", measured, low, high, side, limit, 24)


@pytest.mark.parametrize(
    ("low", "high", "side", "verdict"),
    [
        (0.6, 0.9, "above", "holds"),
        (0.6, 0.9, "below", "broken"),
        (0.1, 0.4, "above", "broken"),
        (0.1, 0.4, "below", "holds"),
        (0.4, 0.6, "above", "undecided"),
        (0.4, 0.6, "below", "undecided"),
        (0.5, 0.9, "above", "undecided"),
        (math.nan, 0.9, "above", "undecided"),
        (math.nan, math.nan, "below", "undecided"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(low: float, high: float, side: Side, verdict: str) -> None:
    assert claim(low, high, side).verdict == verdict


def test_claims_make_a_table_and_none_make_an_empty_one() -> None:
    found = claims_table([claim(0.6, 0.9), claim(0.6, 0.9, "below")])
    assert list(found.columns) == RECALL_CLAIMS.names
    assert found["verdict"].tolist() == ["holds", "broken"]
    assert claims_table([]).empty
    assert list(claims_table([]).columns) == RECALL_CLAIMS.names
