"""Base values and entries by hand, however many tokens are encoded at a time, and in every stage that uses them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from saeattr.attribution.site import attribute_site
from saeattr.behaviours.pair import Pair
from saeattr.generation.ablation import ablation, stand_in
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import BASES, SiteBase, site_means, token_chunks
from saeattr.runs.batch import CorruptedTokens, effect_tokens, run_batch, site_tokens
from saeattr.runs.effects import base_change
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.saes.sae import ReluAutoencoder
from saeattr.settings import BaseName
from saeattr.sites import Site
from saeattr.validation.controls import profile_site
from saeattr.validation.joint import FeatureSet, SitePatch

SAE = ReluAutoencoder(
    Site("resid_post", 0), "", torch.eye(2), torch.zeros(2), torch.eye(2), torch.tensor([10.0, 20.0]), None
)


@pytest.mark.parametrize("tokens_at_once", [1, 2, 3, 100])
def test_means_are_over_all_tokens_those_without_activation_too(
    monkeypatch: pytest.MonkeyPatch, tokens_at_once: int
) -> None:
    monkeypatch.setattr("saeattr.runs.base.DENSE_BYTES", 4 * SAE.d_sae * tokens_at_once)
    x = torch.tensor([[1.0, -4.0], [-3.0, 2.0], [5.0, -1.0], [1.0, 7.0]])
    means = site_means(SAE, x)
    assert means.f.tolist() == [7 / 4, 9 / 4]
    assert means.x.tolist() == [1.0, 1.0]
    chunks = token_chunks(SAE, len(x))
    assert [at for chunk in chunks for at in range(len(x))[chunk]] == [0, 1, 2, 3]
    assert max(chunk.stop - chunk.start for chunk in chunks) == min(tokens_at_once, 4)


def test_a_whole_site_is_set_to_the_corrupted_x_the_decoders_bias_or_the_mean() -> None:
    means = site_means(SAE, torch.tensor([[1.0, -4.0], [3.0, 2.0]]))
    clean = torch.tensor([[9.0, 8.0], [7.0, 6.0], [5.0, 4.0]])
    corrupted = torch.tensor([[0.5, 0.25], [1.5, 2.5], [3.0, 4.0]])
    assert torch.equal(SiteBase("corrupted", SAE).activation(clean, CorruptedTokens(corrupted)), corrupted)
    assert SiteBase("zero", SAE).activation(clean, None).tolist() == [[10.0, 20.0]] * 3
    assert SiteBase("mean", SAE, means).activation(clean, None).tolist() == [[2.0, -1.0]] * 3


def test_the_zero_base_is_the_bias_alone(lm: LanguageModel, saes: dict[Site, SaeFile]) -> None:
    sae = load_sae(saes[Site("mlp_out", 2)])
    x = torch.randn(4, sae.d_in)
    torch.testing.assert_close(SiteBase("zero", sae).activation(x, None), sae.b_dec.repeat(4, 1))


#: JumpReLU with a threshold of 1 for its first feature; encodes x itself.
JUMP = ReluAutoencoder(
    Site("resid_post", 0), "", torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2), torch.tensor([1.0, 0.0])
)


def test_where_entries_are_and_what_features_become() -> None:
    """Active in either run with the corrupted base, in the clean run with the others; a mean is set where active."""
    clean = torch.tensor([[3.0, 2.0], [0.5, 4.0], [2.0, -1.0], [-1.0, -1.0]])
    corrupted = torch.tensor([[0.9, 5.0], [6.0, 4.0], [-2.0, -3.0], [-1.0, -2.0]])
    f = JUMP.encode(clean)
    assert f.tolist() == [[3.0, 2.0], [0.0, 4.0], [2.0, 0.0], [0.0, 0.0]]
    means = site_means(JUMP, clean)
    assert means.f.tolist() == [5 / 4, 6 / 4]
    active = [[True, True], [False, True], [True, False], [False, False]]
    expected: dict[str, tuple[list[list[bool]], list[list[float]], list[list[float]]]] = {
        "corrupted": (
            [[True, True], [True, True], [True, False], [False, False]],
            [[0.0, 5.0], [6.0, 4.0], [0.0, 0.0], [0.0, 0.0]],
            [[-3.0, 3.0], [6.0, 0.0], [-2.0, 0.0], [0.0, 0.0]],
        ),
        "zero": (active, [[0.0, 0.0]] * 4, [[-3.0, -2.0], [0.0, -4.0], [-2.0, 0.0], [0.0, 0.0]]),
        "mean": (active, [[1.25, 1.5]] * 4, [[-1.75, -0.5], [0.0, -2.5], [-0.75, 0.0], [0.0, 0.0]]),
    }
    for name in BASES:
        base = SiteBase(name, JUMP, means if name == "mean" else None)
        there = CorruptedTokens(corrupted) if name == "corrupted" else None
        entry, f_base = base.entries(f, there)
        change = base.change(f, there)
        assert (entry.tolist(), f_base.tolist(), change.tolist()) == expected[name]
        second = base.of_features(torch.tensor([1]))
        assert second.change(second.sae.encode(clean), there).tolist() == [[row[1]] for row in expected[name][2]]


def test_a_feature_without_a_partner_is_patched_to_zero() -> None:
    clean = torch.tensor([[3.0, 2.0], [0.5, 4.0], [2.0, -1.0]])
    beside = CorruptedTokens(torch.tensor([[0.9, 5.0], [6.0, 4.0], [7.0, 7.0]]), torch.tensor([True, False, False]))
    base, f = SiteBase("corrupted", JUMP), JUMP.encode(clean)
    entry, f_base = base.entries(f, beside)
    assert entry.tolist() == [[True, True], [False, True], [True, False]]
    assert f_base.tolist() == [[0.0, 5.0], [0.0, 0.0], [0.0, 0.0]]
    assert base.change(f, beside).tolist() == [[-3.0, 3.0], [0.0, -4.0], [-2.0, 0.0]]
    # The whole site becomes what the zero base makes of it there.
    assert base.activation(clean, beside).tolist() == [[pytest.approx(0.9), 5.0], [0.0, 0.0], [0.0, 0.0]]


def change_by_hand(base: BaseName, f: Tensor, f_corrupted: Tensor, means: Tensor) -> Tensor:
    """f_base - f, entry by entry, [tokens, features]; NaN where there is no entry."""
    change = torch.full_like(f, torch.nan)
    for token in range(len(f)):
        for feature in range(f.shape[1]):
            now, then = float(f[token, feature]), float(f_corrupted[token, feature])
            if now > 0 or (base == "corrupted" and then > 0):
                change[token, feature] = {"corrupted": then, "zero": 0.0, "mean": float(means[feature])}[base] - now
    return change


@pytest.mark.parametrize("base", BASES)
def test_every_stage_keeps_to_the_one_rule(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], base: BaseName
) -> None:
    """Attribution, exact effects, controls, joint patches and generation, each against the rule written out anew."""
    site = Site("mlp_out", 2)
    sae = load_sae(saes[site])
    batch = run_batch(lm, pairs[:2], [site], Question(base=base))
    assert batch.corrupted is not None
    x_mean = batch.clean.x[site][batch.usable]
    means = sae.encode(x_mean).mean(0)
    first = [pair.changed_positions[0] if base == "corrupted" else 1 for pair in pairs[:2]]
    where = [(row, at) for row in (0, 1) for at in range(first[row], pairs[row].points[-1].position + 1)]
    row, position = torch.tensor(where).T
    x, x_corrupted = batch.clean.x[site][row, position], batch.corrupted.x[site][row, position]
    f = sae.encode(x)
    expected = change_by_hand(base, f, sae.encode(x_corrupted), means)
    entry, change = ~expected.isnan(), expected.nan_to_num()
    assert entry.any(0).sum() > 20
    assert not entry.all()
    site_base = SiteBase.of(sae, [batch])

    tokens = site_tokens(batch, site, effect_tokens(batch, base))
    assert list(zip(tokens.row.tolist(), tokens.position.tolist(), strict=True)) == where
    found = attribute_site(site_base, tokens)
    assert list(zip(found.token.tolist(), found.feature.tolist(), strict=True)) == [
        (token, feature) for token, feature in entry.nonzero().tolist()
    ]
    torch.testing.assert_close(found.act_base - found.act_clean, change[entry], rtol=0, atol=1e-5)

    ids = torch.tensor([int(feature) for feature in entry.sum(0).topk(12).indices])
    torch.testing.assert_close(base_change(batch, site_base, ids, row, position), change[:, ids], rtol=0, atol=1e-5)

    profile = profile_site(site_base, [batch])
    np.testing.assert_allclose(profile.frequency, entry.double().mean(0), atol=1e-12)
    norm = f.mean(0) * sae.W_dec.norm(dim=1)
    np.testing.assert_allclose(profile.activation_norm, norm, rtol=1e-4, atol=1e-5)

    some = {site: ids.tolist()}
    moved = x + change[:, ids] @ sae.W_dec[ids]
    patch = SitePatch.of(sae, [batch], [FeatureSet(some), FeatureSet(keep=True), FeatureSet()])
    for number, wanted in enumerate((moved, x + change @ sae.W_dec, x)):
        patched = patch.patched(x, CorruptedTokens(x_corrupted), torch.full((len(x),), number))
        torch.testing.assert_close(patched, wanted, rtol=0, atol=1e-4)

    beside = x_corrupted[None] if base == "corrupted" else None
    held = ablation(site_base, ids.tolist())(x[None], beside)
    torch.testing.assert_close(x + held[0], moved, rtol=0, atol=1e-4)
    stood_in = stand_in(site_base, ids[:6].tolist(), ids[6:].tolist())(x[None], beside)[0]
    wanted = (change[:, ids[:6]] @ sae.W_dec[ids[:6]]).norm(dim=1)
    torch.testing.assert_close(stood_in.norm(dim=1), wanted, rtol=1e-4, atol=1e-4)
