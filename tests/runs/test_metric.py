"""Metrics against the full logits of the plain Hugging Face model."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from saeattr.behaviours.pair import Pair, Point
from saeattr.errors import UserError
from saeattr.model import unembed
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import run_batch
from saeattr.runs.metric import METRICS, find_metric, plan_reads
from saeattr.runs.question import Question
from saeattr.settings import Decision
from saeattr.sites import Site

SITE = Site("resid_post", 0)


def with_tokens(pairs: list[Pair]) -> list[Pair]:
    """The pairs with several tokens on each side, another number of them at every point, and uneven weights."""
    changed = []
    for nth, pair in enumerate(pairs):
        points = []
        for at, point in enumerate(pair.points):
            first = 20 + 7 * nth + 3 * at
            wanted = (*point.wanted, *range(first, first + at % 3))
            points.append(Point(point.position, wanted, (*point.unwanted, first + 100, first + 101), 1.0 + at))
        changed.append(dataclasses.replace(pair, points=tuple(points)))
    return changed


def full_logits(model: Any, ids: tuple[int, ...]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("decision", ["last", "all"])
def test_several_tokens_count_as_their_summed_probability(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any, decision: Decision
) -> None:
    """log P(any wanted) - log P(any unwanted): log sum exp of full logits; points count by their weights."""
    several = with_tokens(pairs)
    batch = run_batch(lm, several, [SITE], Question(decision=decision))
    assert batch.clean.metric is not None
    by_point = []
    for row, pair in enumerate(several):
        logits = full_logits(plain_model, pair.clean_ids)
        values = []
        for point in pair.points:
            wanted, unwanted = (
                logits[point.position, list(side)].exp().sum() for side in (point.wanted, point.unwanted)
            )
            values.append(float(wanted.log() - unwanted.log()))
        by_point += values
        if decision == "all":
            weights = range(1, len(values) + 1)
            expected = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
        else:
            expected = values[-1]
        assert float(batch.clean.metric[row]) == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(batch.clean_reads, torch.tensor(by_point), rtol=0, atol=1e-4)


def test_the_negative_log_probability_is_of_the_token_that_follows(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any
) -> None:
    """Whatever the points contrast; behind the corrupted prompt it is the clean prompt's next token."""
    batch = run_batch(lm, pairs[:3], [SITE], Question(find_metric("neg-log-prob")))
    assert batch.corrupted_reads is not None
    clean, corrupted = [], []
    for pair in pairs[:3]:
        assert pair.corrupted_ids is not None
        both = (pair.clean_ids, clean), (pair.corrupted_ids, corrupted)
        for ids, found in both:
            logits = full_logits(plain_model, ids)
            for point in pair.points:
                following = pair.clean_ids[point.position + 1]
                found.append(-float(torch.log_softmax(logits[point.position], 0)[following]))
    torch.testing.assert_close(batch.clean_reads, torch.tensor(clean), rtol=0, atol=1e-4)
    torch.testing.assert_close(batch.corrupted_reads, torch.tensor(corrupted), rtol=0, atol=1e-4)


def test_reads_are_the_points_in_row_order_with_weights_that_sum_to_one(pairs: list[Pair]) -> None:
    several = with_tokens(pairs)
    for decision in ("last", "all"):
        reads = plan_reads(several, decision)
        expected = [
            (row, nth + 1, one.position) for row, pair in enumerate(several) for nth, one in enumerate(pair.points)
        ]
        found = zip(reads.row.tolist(), reads.point.tolist(), reads.position.tolist(), strict=True)
        assert list(found) == expected
        sums = torch.zeros(len(several)).index_add(0, reads.row, reads.weight)
        torch.testing.assert_close(sums, torch.ones(len(several)))
        tokens = reads.tokens.tolist()
        assert len(set(tokens)) == len(tokens)
        for at, point in enumerate(point for pair in several for point in pair.points):
            for side, named in ((reads.wanted, point.wanted), (reads.unwanted, point.unwanted)):
                assert {token for token, inside in zip(tokens, side[at].tolist(), strict=True) if inside} == set(named)


def test_where_a_prompt_ends_at_its_point_the_next_token_is_the_wanted_one(
    lm: LanguageModel, pairs: list[Pair]
) -> None:
    last = len(pairs[0].clean_ids) - 1
    ends = dataclasses.replace(pairs[0], points=(Point(last, (1, 7), (2,)),))
    reads = plan_reads([ends])
    assert reads.next_ids.tolist() == [-1]
    hidden = torch.randn(1, 128)
    expected = -unembed.full_logits(lm, hidden).double().softmax(1)[0, [1, 7]].sum().log()
    assert abs(float(find_metric("neg-log-prob").values(lm, hidden, reads)) - float(expected)) < 1e-5


def test_a_name_that_is_no_metric_is_refused_with_those_there_are() -> None:
    for name, metric in METRICS.items():
        assert find_metric(name) is metric
    with pytest.raises(UserError) as caught:
        find_metric("end-vs-contine", ("end-vs-continue", "blank-vs-newline"))
    assert str(caught.value) == (
        "'end-vs-contine' is not a metric: choose one of end-vs-continue, blank-vs-newline, logit-difference, "
        "log-prob-difference, log-prob, probability, neg-log-prob, or --contrast TOKEN_A TOKEN_B"
    )
    with pytest.raises(UserError, match="choose one of logit-difference, log-prob-difference, "):
        find_metric("")
