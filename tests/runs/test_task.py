"""Running the pairs of a task batch by batch."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import metric_gap
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task, run_pairs
from saeattr.sites import Site

SITE = Site("resid_post", 1)


@pytest.mark.parametrize("batch_size", [1, 2, 9])
def test_batches_hold_the_pairs_in_order_and_progress_counts_them(
    lm: LanguageModel, pairs: list[Pair], batch_size: int
) -> None:
    seen: list[tuple[str, int, int]] = []
    task = Task(lm, pairs, pace=Pace(batch_size), on_step=lambda *said: seen.append(said))
    batches = run_pairs(task, [SITE])
    assert [pair for batch in batches for pair in batch.pairs] == pairs
    assert max(len(batch.pairs) for batch in batches) == min(batch_size, len(pairs))
    assert seen == [("forward", done, 5) for done in (*range(0, 5, batch_size), 5)]
    assert all(batch.clean.g == {} for batch in batches)
    assert task.group == "cities"


def test_a_pair_weighs_as_often_as_it_was_drawn(lm: LanguageModel, pairs: list[Pair]) -> None:
    drawn = [dataclasses.replace(pair, times=at + 1) for at, pair in enumerate(pairs)]
    assert list(Task(lm, drawn).times.items()) == [(pair.pair_id, at + 1) for at, pair in enumerate(pairs)]


def test_pairs_without_a_corrupted_prompt_have_no_gap_and_take_nobodys(lm: LanguageModel, pairs: list[Pair]) -> None:
    """Whichever pairs would share a batch."""
    bare = (1, 2)
    mixed = [dataclasses.replace(pair, corrupted_ids=None) if at in bare else pair for at, pair in enumerate(pairs)]
    whole = metric_gap(run_pairs(Task(lm, pairs), [SITE]))
    assert whole.abs().min() > 0.1
    expected = whole.clone()
    expected[list(bare)] = torch.nan
    for batch_size in (1, 2, 16):
        task = Task(lm, mixed, question=Question(base="mean"), pace=Pace(batch_size))
        batches = run_pairs(task, [SITE], gradients=True)
        assert [pair.pair_id for batch in batches for pair in batch.pairs] == [pair.pair_id for pair in mixed]
        torch.testing.assert_close(metric_gap(batches), expected, rtol=0, atol=1e-4, equal_nan=True)
