"""A site's profile counted token by token with plain hooks; controls of equal length against vectors made by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import BASES, SiteBase
from saeattr.runs.batch import run_batch
from saeattr.runs.effects import along_effects, feature_change, feature_effects
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.saes.sae import ReluAutoencoder
from saeattr.settings import BaseName
from saeattr.sites import Site
from saeattr.validation.controls import (
    NEAREST,
    SiteProfile,
    draw_controls,
    draw_stand_ins,
    profile_site,
    stand_in_move,
)
from tests import plain
from tests.plain import read

SITE = Site("mlp_out", 2)


@pytest.mark.parametrize("base", BASES)
def test_a_profile_counts_entries_over_all_tokens_that_can_have_an_effect(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], plain_model: Any, base: BaseName
) -> None:
    sae = load_sae(saes[SITE])
    batches = [run_batch(lm, part, [SITE], Question(base=base)) for part in (pairs[:2], pairs[2:])]
    found = profile_site(SiteBase.of(sae, batches), batches)
    n_tokens, activation, counts = 0, torch.zeros(sae.d_sae), torch.zeros(sae.d_sae)
    for pair in pairs:
        first = min(pair.changed_positions) if base == "corrupted" else 1
        tokens = slice(first, pair.points[-1].position + 1)
        f = sae.encode(read(plain_model, SITE, pair.clean_ids)[tokens])
        n_tokens, activation, entry = n_tokens + len(f), activation + f.sum(0), f > 0
        if base == "corrupted":
            assert pair.corrupted_ids is not None
            entry = entry | (sae.encode(read(plain_model, SITE, pair.corrupted_ids)[tokens]) > 0)
        counts += entry.sum(0)
    length = np.linalg.norm(sae.W_dec.numpy(), axis=1)
    assert ((counts > 0) & (counts < n_tokens)).sum() > 10
    assert (counts == 0).any()
    np.testing.assert_allclose(found.frequency, counts.numpy() / n_tokens, atol=1e-12)
    np.testing.assert_allclose(found.activation_norm, activation.numpy() / n_tokens * length, rtol=1e-3, atol=1e-4)
    assert found.active.tolist() == counts.nonzero()[:, 0].tolist()


def some_profile(d_sae: int, silent: list[int]) -> SiteProfile:
    frequency = np.full(d_sae, 0.3)
    frequency[silent] = 0
    return SiteProfile(frequency, frequency)


def test_controls_are_active_others_that_point_elsewhere_and_do_not_depend_on_what_else_is_tested(
    saes: dict[Site, SaeFile],
) -> None:
    sae = load_sae(saes[SITE])
    profile = some_profile(sae.d_sae, [3, 4, 5])
    drawn = draw_controls(sae, profile, [7], 39, seed=0)
    assert len(set(drawn.tolist())) == 39
    assert not {3, 4, 5, 7} & set(drawn.tolist())
    rows = torch.nn.functional.normalize(sae.W_dec, dim=1)
    cosine = (rows @ rows[7]).abs()
    assert (cosine[drawn] < NEAREST).all()
    everything = set(draw_controls(sae, profile, [7], sae.d_sae, seed=0).tolist())
    assert everything == {at for at in range(sae.d_sae) if cosine[at] < NEAREST and at not in (3, 4, 5)}
    # Fewer are the first of more; another seed, feature or site draws others.
    assert draw_controls(sae, profile, [7], 10, seed=0).tolist() == drawn[:10].tolist()
    assert isinstance(sae, ReluAutoencoder)
    elsewhere = dataclasses.replace(sae, site=Site("mlp_out", 3))
    others = (
        draw_controls(sae, profile, [7], 39, seed=1),
        draw_controls(sae, profile, [8], 39, seed=0),
        draw_controls(elsewhere, profile, [7], 39, seed=0),
    )
    assert all(other.tolist() != drawn.tolist() for other in others)


def test_every_active_feature_is_drawn_as_often_as_any_other(saes: dict[Site, SaeFile]) -> None:
    sae = load_sae(saes[SITE])
    profile = some_profile(sae.d_sae, list(range(60, sae.d_sae)))
    candidates = draw_controls(sae, profile, [7], 60, seed=0)
    draws = [draw_controls(sae, profile, [7], 5, seed).tolist() for seed in range(600)]
    counts = np.array([sum(one in draw for draw in draws) for one in candidates])
    expected = 600 * 5 / len(candidates)
    assert np.abs(counts - expected).max() < 5 * expected**0.5


def test_stand_ins_are_one_for_each_feature_and_none_twice_in_a_set(saes: dict[Site, SaeFile]) -> None:
    sae = load_sae(saes[SITE])
    profile = some_profile(sae.d_sae, [])
    sets = draw_stand_ins(sae, profile, [1, 2, 3], 4, seed=0)
    assert len(sets) == 4
    assert len({tuple(one) for one in sets}) == 4
    assert all(len(set(one)) == 3 and not {1, 2, 3} & set(one) for one in sets)
    few = some_profile(sae.d_sae, list(range(6, sae.d_sae)))
    assert draw_stand_ins(sae, few, [1, 2, 3, 4], 2, seed=0) == []


def test_stand_ins_move_x_as_far_as_the_features_would_token_by_token() -> None:
    """Two features at right angles whose changes are 3 and 4: x moves by 5; where they cancel, by nothing."""
    own = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-2.0, 0.0, 0.0]])
    others = torch.tensor([[0.0, 0.0, 3.0], [0.0, 5.0, 5.0], [1.0, 1.0, 0.0]])
    change = torch.tensor([[1.5, 4.0, 0.0], [-1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    moved = stand_in_move(change, own, others)
    assert moved.norm(dim=1).tolist() == pytest.approx([5.0, 2.0, 0.0, 0.0], abs=1e-6)
    # One feature alone: along its stand-in, with the sign of its change.
    assert moved[1].tolist() == pytest.approx([0.0, 0.0, -2.0])
    mixed = 3.0 * torch.tensor([0.0, 0.0, 1.0]) + 4.0 * torch.tensor([0.0, 0.5**0.5, 0.5**0.5])
    assert moved[0].tolist() == pytest.approx((5.0 * mixed / mixed.norm()).tolist(), abs=1e-5)


@pytest.mark.parametrize("base", BASES)
def test_a_control_moves_x_by_the_features_own_length_along_another_direction(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], plain_model: Any, base: BaseName
) -> None:
    """Against hooks on the plain model: at each token of the feature, its change times its own decoder norm."""
    sae = load_sae(saes[SITE])
    assert isinstance(sae, ReluAutoencoder)
    # Decoder rows of unequal lengths.
    sae = dataclasses.replace(sae, W_dec=sae.W_dec * torch.linspace(0.5, 2.0, sae.d_sae)[:, None])
    batch = run_batch(lm, pairs, [SITE], Question(base=base))
    site_base = SiteBase.of(sae, [batch])
    feature, *others = sae.encode(batch.clean.x[SITE][batch.usable]).sum(0).topk(3).indices.tolist()
    change = feature_change(batch, site_base, feature)
    found = along_effects(batch, sae, feature, change, torch.tensor([feature, *others]), 5)
    for nth, other in enumerate((feature, *others)):
        direction = sae.W_dec[other] / sae.W_dec[other].norm() * sae.W_dec[feature].norm()
        for row, pair in enumerate(pairs):
            mine = change.row == row
            moves = torch.zeros(len(pair.clean_ids), sae.d_in)
            moves[change.position[mine]] = change.change[mine, None] * direction
            before = plain.at_point(plain_model, pair.clean_ids, pair.points[-1])
            with plain.edited(plain_model, SITE, lambda x, moves=moves: x + moves[None]):
                after = plain.at_point(plain_model, pair.clean_ids, pair.points[-1])
            assert float(found[nth, row]) == pytest.approx((after - before).item(), abs=2e-4)
    own = feature_effects(batch, site_base, torch.tensor([feature]), 4)
    torch.testing.assert_close(found[:1], own, rtol=0, atol=1e-5)
    assert found.abs().max() > 1e-3
