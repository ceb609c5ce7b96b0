"""Integrated gradients and whole-site totals against naive full forwards."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from saeattr.behaviours.pair import Pair

from saeattr.attribution.methods import integrated_gradients
from saeattr.attribution.site import attribute_site
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import SiteTokens, effect_tokens, run_batch, site_tokens
from saeattr.runs.effects import total_effect
from saeattr.runs.metric import make_metric
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.sites import KINDS, Site
from tests import plain


@pytest.mark.parametrize("kind", KINDS)
def test_the_total_effect_is_that_of_a_full_forward(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any, kind: Any
) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    assert metric.plus is not None
    assert metric.minus is not None
    for layer in (0, 2, 5):
        site = Site(kind, layer)
        batch = run_batch(lm, pairs, [site], metric, "last")
        found = total_effect(
            lm, batch.clean, site, batch.corrupted.x[site], lambda h, b=batch: b.read_metric(lm, metric, h)
        )
        for row, pair in enumerate(pairs):
            x = plain.read(plain_model, site, pair.corrupted_ids)
            at = pair.decision_positions[-1]
            with torch.no_grad():
                before = plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus)
                with plain.edited(plain_model, site, lambda _, x=x: x[None]):
                    after = plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus)
            assert float(found[row]) == pytest.approx(float(after - before), abs=1e-4)


def test_integrated_gradients_add_up_to_the_total_effect(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    """Completeness: with enough steps, features and error term sum to the exact effect of patching the site."""
    metric = make_metric("end-vs-continue", lm.tokenizer)
    for site in (Site("attn_z", 1), Site("resid_post", 2), Site("mlp_out", 4)):
        batch = run_batch(lm, pairs, [site], metric, "last")
        x_base = batch.corrupted.x[site]

        def read(hidden: torch.Tensor, batch: Any = batch) -> torch.Tensor:
            return batch.read_metric(lm, metric, hidden)

        exact = total_effect(lm, batch.clean, site, x_base, read)
        chosen = effect_tokens(batch, "corrupted")
        tokens = site_tokens(batch, site, chosen)
        errors = []
        for steps in (1, 4, 32):
            g = integrated_gradients(lm, batch.clean, site, x_base, read, steps, batch_size=10)
            with_g = SiteTokens(tokens.row, tokens.position, tokens.clean, tokens.corrupted, g[chosen])
            found = attribute_site(load_sae(saes[site]), with_g, "corrupted")
            total = (found.features_effect + found.error_effect).new_zeros(len(pairs))
            total.index_add_(0, tokens.row, found.features_effect + found.error_effect)
            errors.append(float((total - exact).abs().max() / exact.abs().max()))
        assert errors[-1] < 0.02
        assert errors[-1] < errors[0]


@pytest.mark.parametrize(
    ("site", "share", "steps"),
    [
        (Site("resid_post", 5), 1.0, (2, 4, 8, 16, 32)),
        (Site("resid_post", 2), 0.5, (8, 16)),
        (Site("mlp_out", 4), 1.0, (4, 8, 16)),
    ],
    ids=str,
)
def test_twice_the_steps_leave_a_quarter_of_the_error(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any, site: Site, share: float, steps: tuple[int, ...]
) -> None:
    """The midpoint rule's order, against the change that full forwards of the plain model give.

    The line goes ``share`` of the way to the corrupted run: over all of it the metric bends too much for few steps.
    """
    metric = make_metric("end-vs-continue", lm.tokenizer)
    assert metric.plus is not None
    assert metric.minus is not None
    batch = run_batch(lm, pairs, [site], metric, "last")
    change = share * (batch.corrupted.x[site] - batch.clean.x[site])
    exact = []
    for row, pair in enumerate(pairs):
        at, moved = pair.decision_positions[-1], change[row, : len(pair.clean_ids)]
        with torch.no_grad():
            before = plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus)
            with plain.edited(plain_model, site, lambda x, moved=moved: x + moved):
                after = plain.metric(plain_model, pair.clean_ids, at, metric.plus, metric.minus)
        exact.append(after - before)
    errors = []
    for number in steps:
        g = integrated_gradients(
            lm, batch.clean, site, batch.clean.x[site] + change, lambda h: batch.read_metric(lm, metric, h), number, 40
        )
        errors.append(float(((change * g).sum((1, 2)) - torch.stack(exact)).abs().max()))
    for coarse, fine in itertools.pairwise(errors):
        assert 3 < coarse / fine < 5


def test_steps_share_batches_without_changing_the_result(lm: LanguageModel, pairs: list[Pair]) -> None:
    metric = make_metric("end-vs-continue", lm.tokenizer)
    site = Site("mlp_out", 2)
    batch = run_batch(lm, pairs, [site], metric, "last")
    many, few = (
        integrated_gradients(
            lm,
            batch.clean,
            site,
            batch.corrupted.x[site],
            lambda hidden: batch.read_metric(lm, metric, hidden),
            steps=6,
            batch_size=size,
        )
        for size in (30, 5)
    )
    torch.testing.assert_close(many, few, rtol=1e-4, atol=1e-6)
