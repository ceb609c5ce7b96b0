"""The memory plan of a recall study: against a measured peak, by its parts, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import saeattr
from saeattr import UserError
from saeattr.recall.batteries import named_battery

FACTS = 48


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """The first phrasing of some facts, in one category, so that all are held at once."""
    firsts = [row.as_cells() for row in named_battery("facts").rows if row.pair_id.endswith(" 1")]
    return [{**row, "category": "all"} for row in firsts[:FACTS]]


def test_the_predicted_peak_is_the_measured_one_within_15_percent(rows: list[dict[str, str]], tmp_path: Path) -> None:
    plan = saeattr.plan_recall(rows, selection="C", device="cpu")
    assert (plan.n_facts, plan.batch_size) == (FACTS, 16)
    out = tmp_path / "study"
    pairs = [row.model_dump(exclude={"row"}, exclude_none=True) for row in saeattr.check_recall(rows).pairs.rows]
    saeattr.patch(
        "all", pairs=pairs, component="resid_mid", most_pairs=FACTS, heads=False, out=out, figures=False, device="cpu"
    )
    measured = json.loads((out / "plan.json").read_text(encoding="utf-8"))["groups"]["all"]["measured_peak"]
    assert plan.peak == pytest.approx(measured["patching"], rel=0.15)


def test_facts_are_counted_as_each_selection_takes_them_and_half_the_numbers_take_half_the_bytes() -> None:
    a, b, c = (saeattr.plan_recall(selection=letter, device="cpu") for letter in "ABC")
    assert (a.n_facts, b.n_facts, c.n_facts) == (15, 24, 268)
    assert a.weights == c.weights
    assert a.captured < b.captured < c.captured
    assert a.peak == a.weights + a.captured + max(a.working, a.patched)
    half = saeattr.plan_recall(selection="B", device="cpu", dtype="bfloat16")
    assert half.weights == b.weights // 2


def test_rows_that_cannot_be_asked_are_one_line(rows: list[dict[str, str]]) -> None:
    with pytest.raises(UserError, match="none of the 1 rows of .* can be asked of this model"):
        saeattr.plan_recall([{**rows[0], "clean_target": " New York"}], device="cpu")
