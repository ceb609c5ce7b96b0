"""Integrated gradients against exact totals and naive full forwards; what methods cost, counted."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from saeattr.attribution.methods import METHODS, find_method, integrated_gradients
from saeattr.attribution.site import attribute_site
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import SiteTokens, effect_tokens, run_batch, site_tokens
from saeattr.runs.effects import total_effect
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.sites import Site, parse_site
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


@contextmanager
def counted_passes(lm: LanguageModel) -> Iterator[list[float]]:
    """Passes of one prompt through one layer: 1 for a forward, 2 more where a backward comes through it."""
    passes: list[float] = []

    def forward(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        passes.append(len(hidden))
        if hidden.requires_grad:
            hidden.register_hook(lambda g: passes.append(2 * len(g)))

    handles = [layer.register_forward_hook(forward, with_kwargs=True) for layer in lm.layers]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize(
    ("names", "above"),
    [(["attn_z.0"], [6]), (["attn_z.0", "mlp_out.0"], [6, 6]), (["attn_z.0", "resid_post.2"], [6, 3])],
)
@pytest.mark.parametrize("name", METHODS)
def test_a_methods_cost_is_what_the_layers_really_do(
    lm: LanguageModel, pairs: list[Pair], name: str, names: list[str], above: list[int]
) -> None:
    """In forwards of the whole model for each pair; ig runs only the layers above a site, so late sites cost less."""
    method, steps = METHODS[name], 3
    sites = [parse_site(site) for site in names]
    question = Question(method=name, ig_steps=steps)
    with counted_passes(lm) as passes:
        batch = run_batch(lm, pairs, sites, question, rules=method.rules)
        assert batch.corrupted is not None
        for site in sites:
            method.slope(batch, site, batch.corrupted.x[site], 7)
    found = sum(passes) / (len(pairs) * lm.n_layers)
    stated = method.forwards(steps, len(sites))
    spared = 3 * steps * sum(1 - layers / lm.n_layers for layers in above) if name == "ig" else 0
    assert found == pytest.approx(stated - spared)
    assert stated == (4 + 9 * len(sites) if name == "ig" else 4)


def test_a_name_that_is_no_method_is_refused_with_those_there_are() -> None:
    for name, method in METHODS.items():
        assert find_method(name) is method
    with pytest.raises(UserError) as caught:
        find_method("integrated")
    assert str(caught.value) == "--method cannot be 'integrated': choose one of attribution, ig, relp"
