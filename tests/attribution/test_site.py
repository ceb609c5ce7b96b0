"""Attributions against plain autograd through an SAE spliced into the Hugging Face model by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from saeattr.attribution.site import attribute_site
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import BASES, SiteBase, SiteMeans, site_means
from saeattr.runs.batch import BatchRuns, effect_tokens, run_batch, site_tokens
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.settings import BaseName
from saeattr.sites import KINDS, Site
from tests import plain


def spliced_gradient(model: Any, site: Site, weights: dict[str, Tensor], pair: Pair) -> tuple[Tensor, Tensor, Tensor]:
    """f, d metric / d f and d metric / d e with x = f W_dec + b_dec + e in the model's path, all [pos, ...]."""
    x = plain.read(model, site, pair.clean_ids)
    pre = x @ weights["W_enc"] + weights["b_enc"]
    f = (torch.relu(pre) * (pre > weights["threshold"])).requires_grad_()
    e = (x - (f.detach() @ weights["W_dec"] + weights["b_dec"])).requires_grad_()
    with plain.edited(model, site, lambda _: (f @ weights["W_dec"] + weights["b_dec"] + e)[None]):
        value = plain.at_point(model, pair.clean_ids, pair.points[-1])
    by_f, by_e = torch.autograd.grad(value, [f, e])
    return f.detach(), by_f, by_e


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 3, 5])
def test_effects_equal_autograd_through_a_spliced_sae(
    lm: LanguageModel,
    saes: dict[Site, SaeFile],
    pairs: list[Pair],
    plain_model: Any,
    kind: Any,
    layer: int,
    base: BaseName,
) -> None:
    site = Site(kind, layer)
    batch = run_batch(lm, pairs, [site], Question(base=base))
    sae = load_sae(saes[site])
    means = site_means(sae, batch.clean.x[site][batch.usable])
    tokens = site_tokens(batch, site, effect_tokens(batch, base))
    found = attribute_site(SiteBase.of(sae, [batch]), tokens)

    weights = {name: value.float() for name, value in load_file(saes[site].weights).items()}
    for row, pair in enumerate(pairs):
        f, by_f, by_e = spliced_gradient(plain_model, site, weights, pair)
        f_base, e_base = base_values(plain_model, site, weights, pair, base, means)
        x = plain.read(plain_model, site, pair.clean_ids)
        error = x - f @ weights["W_dec"] - weights["b_dec"]
        expected = (f_base - f) * by_f
        expected_error = ((e_base - error) * by_e).sum(1)

        mine = tokens.row == row
        position = tokens.position[mine]
        scale = expected[position].abs().max()
        dense = torch.zeros_like(expected)
        entry = mine[found.token]
        dense[tokens.position[found.token[entry]], found.feature[entry]] = found.effect[entry]
        seen = dense != 0
        assert seen.any()
        torch.testing.assert_close(dense[seen] / scale, expected[seen] / scale, rtol=1e-4, atol=1e-5)
        if base != "mean":
            left_out = expected.masked_fill(seen, 0)[position]
            assert float(left_out.abs().max() / scale) < 1e-5
        torch.testing.assert_close(found.features_effect[mine], expected[position].sum(1), rtol=1e-4, atol=2e-4)
        torch.testing.assert_close(found.error_effect[mine], expected_error[position], rtol=1e-4, atol=2e-4)


def base_values(
    model: Any, site: Site, weights: dict[str, Tensor], pair: Pair, base: BaseName, means: SiteMeans
) -> tuple[Tensor, Tensor]:
    """f and e at base, written out anew, [pos, ...]."""
    length = len(pair.clean_ids)
    if base == "zero":
        return torch.zeros(length, len(weights["b_enc"])), torch.zeros(length, len(weights["b_dec"]))
    if base == "mean":
        return means.f.expand(length, -1), (means.x - means.f @ weights["W_dec"] - weights["b_dec"]).expand(length, -1)
    assert pair.corrupted_ids is not None
    x = plain.read(model, site, pair.corrupted_ids)
    pre = x @ weights["W_enc"] + weights["b_enc"]
    f = torch.relu(pre) * (pre > weights["threshold"])
    return f, x - f @ weights["W_dec"] - weights["b_dec"]


def test_an_attribution_does_not_depend_on_which_other_sites_are_captured(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    site = Site("resid_post", 2)
    alone, among = (run_batch(lm, pairs, sites, Question()) for sites in ([site], sorted(saes)))
    torch.testing.assert_close(alone.clean.g[site], among.clean.g[site], rtol=1e-5, atol=1e-7)


def test_tokens_left_out_have_no_effect(lm: LanguageModel, pairs: list[Pair]) -> None:
    """Nothing after the last decision reaches the metric; nothing before the swapped word differs."""
    site = Site("resid_post", 1)
    batch = run_batch(lm, pairs, [site], Question())
    assert batch.corrupted is not None
    left_out = batch.usable & ~effect_tokens(batch, "corrupted")
    change = (batch.corrupted.x[site] - batch.clean.x[site]).abs().amax(-1) * batch.clean.g[site].abs().amax(-1)
    assert left_out.any()
    assert float(change[left_out].max()) < 1e-6


def test_padding_changes_no_effect(lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]) -> None:
    """Batches of one give the effects of a padded batch of five."""
    for site in (Site("attn_z", 1), Site("mlp_out", 3), Site("resid_post", 4)):
        sae = load_sae(saes[site])

        def effects(batch: BatchRuns, site: Site = site, sae: Any = sae) -> Tensor:
            tokens = site_tokens(batch, site, effect_tokens(batch, "corrupted"))
            return attribute_site(SiteBase("corrupted", sae), tokens).effect

        together = effects(run_batch(lm, pairs, [site], Question()))
        alone = torch.cat([effects(run_batch(lm, [pair], [site], Question())) for pair in pairs])
        torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5)
