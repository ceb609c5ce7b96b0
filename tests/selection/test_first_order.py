"""First-order sizes against a finite difference of the plain Hugging Face model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from saeattr.behaviours.pair import Pair

from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import run_batch
from saeattr.runs.metric import make_metric
from saeattr.selection.measure import coordinate_effects, decision_mask, first_order_sizes
from saeattr.sites import KINDS, Site
from tests import plain

STEP = 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_coordinates_add_up_to_the_slope_towards_the_corrupted_run(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any, kind: Any
) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    assert metric.plus is not None
    assert metric.minus is not None
    pair, site = pairs[0], Site(kind, 2)
    at = pair.decision_positions[-1]
    batch = run_batch(lm, [pair], [site], metric, "last")
    before, at_decision = coordinate_effects(batch, site).sum(1).tolist()
    difference = plain.read(plain_model, site, pair.corrupted_ids) - plain.read(plain_model, site, pair.clean_ids)
    for found, places in ((before, range(at)), (at_decision, [at])):
        change = torch.zeros_like(difference)
        change[list(places)] = difference[list(places)]
        moved = []
        for step in (STEP, -STEP):
            with torch.no_grad(), plain.edited(plain_model, site, lambda x, c=change, s=step: x + s * c):
                moved.append(plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus))
        assert found == pytest.approx(float(moved[0] - moved[1]) / (2 * STEP), rel=0.02, abs=0.01)


def test_sizes_do_not_depend_on_the_batches(lm: LanguageModel, pairs: list[Pair]) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    sites = [Site("attn_z", 1), Site("resid_post", 4)]
    together = [run_batch(lm, pairs, sites, metric, "all")]
    apart = [run_batch(lm, [pair], sites, metric, "all") for pair in pairs]
    one, many = (first_order_sizes("cities", batches, sites) for batches in (together, apart))
    assert one.drop(columns="size").equals(many.drop(columns="size"))
    assert (one["size"] - many["size"]).abs().max() < 1e-5
    mask = decision_mask(together[0])
    assert mask.sum(1).tolist() == [len(metric.positions(pair)) for pair in pairs]
    # By hand: the mean over pairs first, then the Euclidean norm over coordinates.
    clean, corrupted = together[0].clean, together[0].corrupted
    effects = (corrupted.x[sites[1]] - clean.x[sites[1]]) * clean.g[sites[1]] * together[0].usable[..., None]
    expected = (effects[mask].sum(0) ** 2).sum().sqrt() / len(pairs)
    assert one["size"].iloc[3] == pytest.approx(float(expected), rel=1e-4)
