"""A batch's runs against the plain Hugging Face model, one prompt at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import run_batch
from saeattr.runs.question import Question
from saeattr.sites import Site
from tests import plain


def test_every_decision_point_is_read_in_the_clean_and_in_the_corrupted_run(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any
) -> None:
    """Those of items before the last one too, whatever the decision is."""
    batch = run_batch(lm, pairs[:3], [Site("resid_post", 0)], Question())
    expected = []
    for pair in pairs[:3]:
        for point in pair.points:
            assert pair.corrupted_ids is not None
            both = (pair.clean_ids, pair.corrupted_ids)
            expected.append([plain.at_point(plain_model, ids, point).item() for ids in both])
    assert batch.corrupted_reads is not None
    found = torch.stack([batch.clean_reads, batch.corrupted_reads], dim=1)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-4)
    assert (found[:, 0] - found[:, 1]).abs().max() > 1


def test_usable_tokens_are_all_but_bos_and_padding(lm: LanguageModel, pairs: list[Pair]) -> None:
    batch = run_batch(lm, pairs, [Site("resid_post", 0)], Question())
    width = max(len(pair.clean_ids) for pair in pairs)
    assert batch.usable.tolist() == [[0 < at < len(pair.clean_ids) for at in range(width)] for pair in pairs]


@pytest.mark.parametrize("decision", ["last", "all"])
def test_a_runs_metric_is_the_mean_over_the_points_asked_for(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any, decision: Any
) -> None:
    batch = run_batch(lm, pairs[:3], [Site("resid_post", 0)], Question(decision=decision))
    for run, name in ((batch.clean, "clean_ids"), (batch.corrupted, "corrupted_ids")):
        assert run is not None
        assert run.metric is not None
        for row, pair in enumerate(pairs[:3]):
            points = pair.points if decision == "all" else pair.points[-1:]
            ids = getattr(pair, name)
            values = [plain.at_point(plain_model, ids, point).item() for point in points]
            assert float(run.metric[row]) == pytest.approx(sum(values) / len(values), abs=1e-4)


def test_decision_all_is_the_mean_over_every_newline(lm: LanguageModel, pairs: list[Pair], plain_model: Any) -> None:
    batch = run_batch(lm, pairs, [Site("resid_post", 0)], Question(decision="all"))
    assert batch.clean.metric is not None
    for row, pair in enumerate(pairs):
        values = [float(plain.at_point(plain_model, pair.clean_ids, point)) for point in pair.points]
        assert float(batch.clean.metric[row]) == pytest.approx(sum(values) / len(values), abs=1e-4)
