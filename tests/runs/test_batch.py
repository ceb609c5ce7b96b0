"""A batch's runs against the plain Hugging Face model, one prompt at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from saeattr.runs.batch import run_batch
from saeattr.runs.metric import make_metric
from saeattr.model.loading import LanguageModel
from saeattr.behaviours.pair import Pair
from saeattr.sites import Site
from tests import plain


def test_every_decision_point_is_read_in_the_clean_and_in_the_corrupted_run(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any
) -> None:
    """Those of items before the last one too, whatever the decision is."""
    metric = make_metric("end-vs-continue", lm.tokenizer)
    assert metric.plus is not None
    assert metric.minus is not None
    batch = run_batch(lm, pairs[:3], [Site("resid_post", 0)], metric, "last")
    expected = []
    for pair in pairs[:3]:
        for at in pair.decision_positions:
            both = (pair.clean_ids, pair.corrupted_ids)
            expected.append([plain.metric(plain_model, ids, at, metric.plus, metric.minus).item() for ids in both])
    found = torch.stack([batch.clean_reads, batch.corrupted_reads], dim=1)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-4)
    assert (found[:, 0] - found[:, 1]).abs().max() > 1


def test_usable_tokens_are_all_but_bos_and_padding(lm: LanguageModel, pairs: list[Pair]) -> None:
    batch = run_batch(lm, pairs, [Site("resid_post", 0)], make_metric("end-vs-continue", lm.tokenizer), "last")
    width = max(len(pair.clean_ids) for pair in pairs)
    assert batch.usable.tolist() == [[0 < at < len(pair.clean_ids) for at in range(width)] for pair in pairs]


@pytest.mark.parametrize("decision", ["last", "all"])
def test_a_runs_metric_is_the_mean_over_the_points_asked_for(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any, decision: Any
) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    assert metric.plus is not None
    assert metric.minus is not None
    batch = run_batch(lm, pairs[:3], [Site("resid_post", 0)], metric, decision)
    for run, name in ((batch.clean, "clean_ids"), (batch.corrupted, "corrupted_ids")):
        assert run.metric is not None
        for row, pair in enumerate(pairs[:3]):
            points = pair.decision_positions if decision == "all" else pair.decision_positions[-1:]
            ids = getattr(pair, name)
            values = [plain.metric(plain_model, ids, at, metric.plus, metric.minus).item() for at in points]
            assert float(run.metric[row]) == pytest.approx(sum(values) / len(values), abs=1e-4)
