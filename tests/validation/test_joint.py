"""Patching many features together, against nested hooks on the plain Hugging Face model, one pair at a time."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import BASES, SiteBase
from saeattr.runs.batch import effect_tokens, run_batch
from saeattr.runs.effects import feature_effects
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.settings import BaseName
from saeattr.sites import Site
from saeattr.validation.joint import FeatureSet, effect_span, joint_effects
from tests import plain

SITES = (Site("attn_z", 1), Site("resid_post", 1), Site("mlp_out", 3))


def naive(
    model: Any,
    pair: Pair,
    saes: list[SparseAutoencoder],
    wanted: FeatureSet,
    base: BaseName,
    means: dict[Site, tuple[Tensor, Tensor]],
) -> float:
    """The metric's change with every site patched in turn, each SAE reading the run as it is by then."""
    last = pair.points[-1]
    assert pair.corrupted_ids is not None
    with torch.no_grad(), ExitStack() as stack:
        before = plain.at_point(model, pair.clean_ids, last)
        corrupted = {sae.site: plain.read(model, sae.site, pair.corrupted_ids) for sae in saes}
        for sae in saes:

            def patch(x: Tensor, sae: SparseAutoencoder = sae) -> Tensor:
                f = sae.encode(x[0])
                if base == "corrupted":
                    x_base, f_base = corrupted[sae.site], sae.encode(corrupted[sae.site])
                elif base == "zero":
                    x_base, f_base = sae.b_dec.expand(x[0].shape), torch.zeros_like(f)
                else:
                    x_base, f_base = (mean.expand(len(x[0]), -1) for mean in means[sae.site])
                change = f_base - f
                if base == "mean":
                    change[f == 0] = 0.0
                named = torch.zeros(sae.d_sae, dtype=torch.bool)
                named[list(wanted.features.get(sae.site, ()))] = True
                change[:, named if wanted.keep else ~named] = 0.0
                moved = x[0] + change @ sae.W_dec
                if wanted.errors:
                    moved += (x_base - sae.decode(f_base)) - (x[0] - sae.decode(f))
                # Neither BOS nor what comes after the decision is patched.
                first = min(pair.changed_positions) if base == "corrupted" else 1
                behind = last.position + 1
                moved[:first], moved[behind:] = x[0, :first], x[0, behind:]
                return moved[None]

            stack.enter_context(plain.edited(model, sae.site, patch))
        after = plain.at_point(model, pair.clean_ids, last)
    return float(after - before)


@pytest.mark.parametrize("base", BASES)
def test_sets_across_layers_are_those_of_nested_hooks(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], plain_model: Any, base: BaseName
) -> None:
    opened = [load_sae(saes[site]) for site in SITES]
    batches = [run_batch(lm, part, SITES, Question(base=base)) for part in (pairs[:2], pairs[2:3])]
    some = {
        sae.site: sae.encode(batches[0].clean.x[sae.site][batches[0].usable]).sum(0).topk(5).indices.tolist()
        for sae in opened
    }
    one = {SITES[1]: some[SITES[1]]}
    means = {}
    for sae in opened:
        # Over all clean tokens but BOS.
        x = torch.cat([plain.read(plain_model, sae.site, pair.clean_ids)[1:] for pair in pairs[:3]])
        means[sae.site] = x.mean(0), sae.encode(x).mean(0)
    sets = [
        FeatureSet(some),
        FeatureSet(some, keep=True),
        FeatureSet(one),
        FeatureSet(keep=True),
        FeatureSet(keep=True, errors=True),
        FeatureSet(some, errors=True),
    ]
    found = joint_effects(batches, [saes[site] for site in SITES], sets, 4).effects
    for nth, wanted in enumerate(sets):
        for row, pair in enumerate(pairs[:3]):
            expected = naive(plain_model, pair, opened, wanted, base, means)
            assert float(found[nth, row]) == pytest.approx(expected, abs=2e-4)
    assert found.abs().min(1).values.max() > 0.1


@pytest.mark.parametrize("base", BASES)
def test_a_set_of_one_feature_has_that_features_exact_effect(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], base: BaseName
) -> None:
    site = Site("mlp_out", 2)
    batch = run_batch(lm, pairs, [site], Question(base=base))
    sae = load_sae(saes[site])
    ids = sae.encode(batch.clean.x[site][batch.usable]).sum(0).topk(3).indices
    alone = feature_effects(batch, SiteBase.of(sae, [batch]), ids, 8)
    sets = [FeatureSet({site: [int(feature)]}) for feature in ids]
    together = joint_effects([batch], [saes[site]], sets, 8).effects
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("base", ["corrupted", "zero"])
def test_stand_ins_move_every_site_as_far_as_the_features_would_in_the_run_that_is_already_edited(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], plain_model: Any, base: BaseName
) -> None:
    """Two sites, one above the other, against nested hooks on the plain model."""
    opened = [load_sae(saes[site]) for site in SITES[:2]]
    batch = run_batch(lm, pairs[:2], SITES, Question(base=base))
    features = {
        sae.site: sae.encode(batch.clean.x[sae.site][batch.usable]).sum(0).topk(3).indices.tolist() for sae in opened
    }
    others = {sae.site: [(one + 101) % sae.d_sae for one in features[sae.site]] for sae in opened}
    sets = [FeatureSet(features), FeatureSet(features, stand_ins=others)]
    found = joint_effects([batch], [saes[site] for site in SITES[:2]], sets, 3)
    assert np.isnan(found.length_ratio[0])
    assert found.length_ratio[1] == pytest.approx(1.0, abs=1e-4)
    for row, pair in enumerate(pairs[:2]):
        assert pair.corrupted_ids is not None
        last = pair.points[-1]
        before = plain.at_point(plain_model, pair.clean_ids, last)
        with ExitStack() as stack:
            for sae in opened:
                corrupted = plain.read(plain_model, sae.site, pair.corrupted_ids)

                def move(
                    x: Tensor, sae: SparseAutoencoder = sae, corrupted: Tensor = corrupted, pair: Pair = pair
                ) -> Tensor:
                    own, stand = features[sae.site], others[sae.site]
                    f = sae.encode(x[0])[:, own]
                    f_base = sae.encode(corrupted)[:, own] if base == "corrupted" else 0 * f
                    change = f_base - f
                    length = (change @ sae.W_dec[own]).norm(dim=1, keepdim=True)
                    unit = sae.W_dec[stand] / sae.W_dec[stand].norm(dim=1, keepdim=True)
                    raw = (change * sae.W_dec[own].norm(dim=1)) @ unit
                    moved = torch.where(length > 0, raw / raw.norm(dim=1, keepdim=True) * length, 0.0)
                    # Neither BOS nor what comes after the decision is patched.
                    start = min(pair.changed_positions) if base == "corrupted" else 1
                    moved[:start], moved[pair.points[-1].position + 1 :] = 0, 0
                    return x + moved[None]

                stack.enter_context(plain.edited(plain_model, sae.site, move))
            after = plain.at_point(plain_model, pair.clean_ids, last)
        assert float(found.effects[1, row]) == pytest.approx((after - before).item(), abs=3e-4)


def test_patching_all_features_and_errors_of_a_residual_stream_gives_the_corrupted_metric(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    site = Site("resid_post", 3)
    batch = run_batch(lm, pairs, [site], Question())
    assert batch.clean.metric is not None
    assert batch.corrupted is not None
    assert batch.corrupted.metric is not None
    found = joint_effects([batch], [saes[site]], [FeatureSet(keep=True, errors=True)], 8).effects
    torch.testing.assert_close(found[0], batch.corrupted.metric - batch.clean.metric, rtol=0, atol=1e-4)


def test_sweeps_do_not_change_an_effect(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few copies are held at a time; progress still counts from nothing to all."""
    site = Site("resid_post", 4)
    batch = run_batch(lm, pairs, [site], Question(base="zero"))
    sets = [FeatureSet({site: [feature]}) for feature in range(3)] + [FeatureSet(keep=True)]
    seen: list[tuple[int, int]] = []
    expected = joint_effects([batch], [saes[site]], sets, 8).effects
    monkeypatch.setattr("saeattr.validation.joint.HELD_BYTES", 1)
    found = joint_effects([batch], [saes[site]], sets, 8, lambda done, total: seen.append((done, total))).effects
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert seen[0] == (0, 8)
    assert seen[-1] == (8, 8)


def test_the_span_holds_every_token_that_can_have_an_effect(lm: LanguageModel, pairs: list[Pair]) -> None:
    batch = run_batch(lm, pairs, [Site("resid_post", 0)], Question())
    span = effect_span(batch)
    chosen = effect_tokens(batch, "corrupted")
    assert int(chosen[:, span.first : span.stop].sum()) == int(chosen.sum())
    assert span.first == min(pairs[0].changed_positions)
