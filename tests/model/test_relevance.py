"""Relevance patching's rules: forwards unchanged, the metric conserved, gradients plain again afterwards."""

from __future__ import annotations

import pytest
import torch

from saeattr.analysis.batches import BatchRuns, run_batch
from saeattr.analysis.metrics import make_metric
from saeattr.model.capture import final_hidden
from saeattr.model.loading import LanguageModel
from saeattr.model.relevance import relevance_rules
from saeattr.prompts.pairs import Pair, pad_pairs
from saeattr.sites import KINDS, Site

SITES = [Site(kind, layer) for layer in range(6) for kind in KINDS]


def batch(lm: LanguageModel, pairs: list[Pair], relevance: bool) -> BatchRuns:
    return run_batch(lm, pairs, SITES, make_metric("end-vs-continue", lm.tokenizer), "last", relevance=relevance)


def test_forwards_are_the_same_to_the_bit(lm: LanguageModel, pairs: list[Pair]) -> None:
    padded = pad_pairs(pairs, lm.pad_id)
    plain = final_hidden(lm, padded.clean, padded.mask)
    with relevance_rules(lm):
        ruled = final_hidden(lm, padded.clean, padded.mask)
    torch.testing.assert_close(ruled, plain, rtol=0, atol=0)
    with_rules, without = batch(lm, pairs, True), batch(lm, pairs, False)
    for site in SITES:
        torch.testing.assert_close(with_rules.clean.x[site], without.clean.x[site], rtol=0, atol=0)


@pytest.mark.parametrize("layer", range(6))
def test_the_metric_is_conserved_at_every_residual_site(lm: LanguageModel, pairs: list[Pair], layer: int) -> None:
    """Over channels and positions, BOS among them, x * g sums to each metric; with plain gradients it does not."""
    site = Site("resid_post", layer)
    ruled, plain = batch(lm, pairs, True), batch(lm, pairs, False)
    assert ruled.clean.metric is not None
    total = (ruled.clean.x[site] * ruled.clean.g[site]).sum(dim=(1, 2))
    torch.testing.assert_close(total, ruled.clean.metric, rtol=1e-3, atol=1e-3)
    by_gradient = (plain.clean.x[site] * plain.clean.g[site]).sum(dim=(1, 2))
    assert float((by_gradient - ruled.clean.metric).abs().max()) > 0.1


def test_gradients_are_plain_again_afterwards_even_after_an_error(lm: LanguageModel, pairs: list[Pair]) -> None:
    before = batch(lm, pairs, False)
    with pytest.raises(RuntimeError, match="on purpose"), relevance_rules(lm):
        raise RuntimeError("on purpose")
    ruled, after = batch(lm, pairs, True), batch(lm, pairs, False)
    site = Site("resid_post", 1)
    torch.testing.assert_close(after.clean.g[site], before.clean.g[site], rtol=0, atol=0)
    assert float((ruled.clean.g[site] - before.clean.g[site]).abs().max()) > 1e-3
