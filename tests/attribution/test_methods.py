"""Integrated gradients against exact totals and naive full forwards."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from saeattr.behaviours.pair import Pair

from saeattr.attribution.methods import integrated_gradients
from saeattr.attribution.site import attribute_site
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import SiteTokens, effect_tokens, run_batch, site_tokens
from saeattr.runs.effects import total_effect
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.sites import Site
from tests import plain


def test_integrated_gradients_add_up_to_the_total_effect(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    """Completeness: with enough steps, features and error term sum to the exact effect of patching the site."""
    for site in (Site("attn_z", 1), Site("resid_post", 2), Site("mlp_out", 4)):
        batch = run_batch(lm, pairs, [site], Question())
        assert batch.corrupted is not None
        x_base = batch.corrupted.x[site]
        exact = total_effect(batch, site, x_base)
        chosen = effect_tokens(batch, "corrupted")
        tokens = site_tokens(batch, site, chosen)
        errors = []
        for steps in (1, 4, 32):
            asked = dataclasses.replace(batch, question=Question(method="ig", ig_steps=steps))
            g = integrated_gradients(asked, site, x_base, batch_size=10)
            with_g = SiteTokens(tokens.row, tokens.position, tokens.clean, tokens.corrupted, g[chosen])
            found = attribute_site(SiteBase("corrupted", load_sae(saes[site])), with_g)
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
    batch = run_batch(lm, pairs, [site], Question())
    assert batch.corrupted is not None
    change = share * (batch.corrupted.x[site] - batch.clean.x[site])
    exact = []
    for row, pair in enumerate(pairs):
        point, moved = pair.points[-1], change[row, : len(pair.clean_ids)]
        with torch.no_grad():
            before = plain.at_point(plain_model, pair.clean_ids, point)
            with plain.edited(plain_model, site, lambda x, moved=moved: x + moved):
                after = plain.at_point(plain_model, pair.clean_ids, point)
        exact.append(after - before)
    errors = []
    for number in steps:
        asked = dataclasses.replace(batch, question=Question(method="ig", ig_steps=number))
        g = integrated_gradients(asked, site, batch.clean.x[site] + change, 40)
        errors.append(float(((change * g).sum((1, 2)) - torch.stack(exact)).abs().max()))
    for coarse, fine in itertools.pairwise(errors):
        assert 3 < coarse / fine < 5


def test_steps_share_batches_without_changing_the_result(lm: LanguageModel, pairs: list[Pair]) -> None:
    site = Site("mlp_out", 2)
    batch = run_batch(lm, pairs, [site], Question(method="ig", ig_steps=6))
    assert batch.corrupted is not None
    x_base = batch.corrupted.x[site]
    many, few = (integrated_gradients(batch, site, x_base, batch_size=size) for size in (30, 5))
    torch.testing.assert_close(many, few, rtol=1e-4, atol=1e-6)
