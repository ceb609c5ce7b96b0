"""The memory plan of a recall study: against the tensors of a real patch, by its parts, and what it refuses."""

from __future__ import annotations

import pytest

import saeattr
from saeattr import UserError
from saeattr.model.loading import LanguageModel
from saeattr.model.memory import LiveBytes
from saeattr.recall.facts.batteries import named_battery, read_battery
from saeattr.recall.facts.check import align_facts
from saeattr.recall.localisation.patches import patch_facts
from saeattr.runs.task import Task

FACTS = 48


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """The first phrasing of some facts."""
    return [row.as_cells() for row in named_battery("facts").rows if row.pair_id.endswith(" 1")][:FACTS]


def test_the_predicted_peak_is_that_of_the_tensors_of_a_patch_within_15_percent(
    rows: list[dict[str, str]], lm: LanguageModel
) -> None:
    plan = saeattr.plan_recall(rows, selection="C", device="cpu")
    assert (plan.n_facts, plan.batch_size) == (FACTS, 16)
    facts, _ = align_facts(lm.tokenizer, read_battery(rows).rows)
    with LiveBytes(lm.hf.parameters()) as live:
        patch_facts(Task(lm, [fact.pair for fact in facts]))
    assert plan.peak - plan.weights == pytest.approx(live.peak, rel=0.15)


def test_facts_are_counted_as_each_selection_takes_them_and_half_the_numbers_take_half_the_bytes() -> None:
    a, b, c = (saeattr.plan_recall(selection=letter, device="cpu") for letter in "ABC")
    assert (a.n_facts, b.n_facts, c.n_facts) == (15, 24, 268)
    assert a.weights == c.weights
    # Batches of 15, 16 and 16 facts.
    assert a.captured < b.captured == c.captured
    assert a.peak == a.weights + a.captured + max(a.working, a.patched)
    half = saeattr.plan_recall(selection="B", device="cpu", dtype="bfloat16")
    assert half.weights == b.weights // 2


def test_rows_that_cannot_be_asked_are_one_line(rows: list[dict[str, str]]) -> None:
    with pytest.raises(UserError, match="none of the 1 rows of .* can be asked of this model"):
        saeattr.plan_recall([{**rows[0], "clean_target": " New York"}], device="cpu")
