"""Exact effects of features against a naive hooked full forward of the plain Hugging Face model, one pair at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import BASES, SiteBase, SiteMeans, site_means
from saeattr.runs.batch import BatchRuns, run_batch
from saeattr.runs.effects import Change, along_effects, feature_change, feature_effects, total_effect
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.settings import BaseName
from saeattr.sites import KINDS, Site
from tests import plain


def naive_change(
    model: Any, site: Site, weights: dict[str, Tensor], pair: Pair, base: BaseName, means: SiteMeans
) -> tuple[Tensor, Tensor]:
    """The clean x and what every feature's patch adds to its activation, [pos, d_sae], written out anew."""

    def encode(ids: tuple[int, ...]) -> Tensor:
        pre = plain.read(model, site, ids) @ weights["W_enc"] + weights["b_enc"]
        return torch.relu(pre) * (pre > weights["threshold"])

    f = encode(pair.clean_ids)
    if base == "corrupted":
        assert pair.corrupted_ids is not None
        change = encode(pair.corrupted_ids) - f
    elif base == "zero":
        change = -f
    else:
        change = torch.where(f > 0, means.f - f, 0.0)
    # BOS is never patched.
    change[0] = 0.0
    return plain.read(model, site, pair.clean_ids), change


def naive_metric(model: Any, site: Site, pair: Pair, x: Tensor) -> float:
    """The metric with x put in at the site."""
    with torch.no_grad(), plain.edited(model, site, lambda _: x[None]):
        return float(plain.at_point(model, pair.clean_ids, pair.points[-1]))


def busiest(sae: SparseAutoencoder, batch: BatchRuns, count: int) -> Tensor:
    """The features with the largest total activation where the metric is read; even the last layer's count there."""
    used = batch.reads.weight > 0
    x = batch.clean.x[sae.site][batch.reads.row[used], batch.reads.position[used]]
    return sae.encode(x).sum(0).topk(count).indices


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 3, 5])
def test_a_features_effect_is_that_of_a_full_forward(
    lm: LanguageModel,
    saes: dict[Site, SaeFile],
    pairs: list[Pair],
    plain_model: Any,
    kind: Any,
    layer: int,
    base: BaseName,
) -> None:
    """All its positions at once, then one (list, position, feature) alone."""
    site, pairs = Site(kind, layer), pairs[:3]
    batch = run_batch(lm, pairs, [site], Question(base=base))
    sae = load_sae(saes[site])
    means = site_means(sae, batch.clean.x[site][batch.usable])
    features = busiest(sae, batch, 2)
    site_base = SiteBase.of(sae, [batch])
    found = feature_effects(batch, site_base, features, 4)
    weights = {name: value.float() for name, value in load_file(saes[site].weights).items()}
    first = int(features[0])
    patch = feature_change(batch, site_base, first)
    alone_expected = []
    for row, pair in enumerate(pairs):
        x, change = naive_change(plain_model, site, weights, pair, base, means)
        clean = naive_metric(plain_model, site, pair, x)
        for nth, feature in enumerate(features.tolist()):
            moved = x + change[:, feature, None] * weights["W_dec"][feature]
            expected = naive_metric(plain_model, site, pair, moved) - clean
            assert float(found[nth, row]) == pytest.approx(expected, abs=5e-5)
        own = patch.take(patch.row == row)
        changed = change[:, first].abs() > 1e-6
        reached = torch.arange(len(changed)) <= pair.points[-1].position
        assert own.position.tolist() == (changed & reached).nonzero()[:, 0].tolist()
        torch.testing.assert_close(own.change, change[own.position, first], rtol=1e-4, atol=1e-5)
        position = pair.points[-1].position
        x[position] += change[position, first] * weights["W_dec"][first]
        alone_expected.append(naive_metric(plain_model, site, pair, x) - clean)
    last = torch.tensor([pair.points[-1].position for pair in pairs])
    here = patch.take(patch.position == last[patch.row])
    alone = along_effects(batch, sae, first, here, features[:1], 2)
    torch.testing.assert_close(alone[0], torch.tensor(alone_expected), rtol=0, atol=5e-5)
    assert found.abs().max() > 1e-3


def test_the_batch_size_does_not_change_an_effect(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    """Neither that of the copies nor that of the pairs (and so the padding)."""
    for site in (Site("attn_z", 0), Site("mlp_out", 2), Site("resid_post", 4)):
        sae = load_sae(saes[site])
        together, base = run_batch(lm, pairs, [site], Question()), SiteBase("corrupted", sae)
        features = busiest(sae, together, 12)
        expected = feature_effects(together, base, features, 64)
        for size in (1, 7):
            found = feature_effects(together, base, features, size)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        alone = [feature_effects(run_batch(lm, [pair], [site], Question()), base, features, 16) for pair in pairs]
        torch.testing.assert_close(torch.cat(alone, dim=1), expected, rtol=0, atol=1e-5)


def test_a_feature_that_never_fires_has_no_effect(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    site = Site("resid_post", 1)
    sae = load_sae(saes[site])
    batch = run_batch(lm, pairs, [site], Question(base="zero"))
    silent = (sae.encode(batch.clean.x[site][batch.usable]).sum(0) == 0).nonzero()[:2, 0]
    assert len(silent) == 2
    assert not feature_effects(batch, SiteBase.of(sae, [batch]), silent, 4).any()


def test_with_decision_all_an_effect_is_the_mean_over_decision_points(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], plain_model: Any
) -> None:
    site = Site("mlp_out", 1)
    batch = run_batch(lm, pairs, [site], Question(base="zero", decision="all"))
    sae = load_sae(saes[site])
    # The second changes late: decision points before it have no part in its effect.
    busy = busiest(sae, batch, 1)
    late = [pair.points[-2].position + 1 for pair in pairs]
    base = SiteBase.of(sae, [batch])
    found = feature_effects(batch, base, busy, 4)[0]
    change = feature_change(batch, base, int(busy[0]))
    at_late = change.take(change.position == torch.tensor(late)[change.row])
    alone = along_effects(batch, sae, int(busy[0]), at_late, busy, 4)[0]
    for row, pair in enumerate(pairs):
        x = plain.read(plain_model, site, pair.clean_ids)
        f = sae.encode(x)[:, busy]
        f[0] = 0.0
        only = torch.zeros_like(f)
        only[late[row]] = f[late[row]]
        for effect, off in ((found[row], f), (alone[row], only)):
            moved = x - off * sae.W_dec[busy]
            changes = []
            with torch.no_grad():
                for point in pair.points:
                    before = plain.at_point(plain_model, pair.clean_ids, point)
                    with plain.edited(plain_model, site, lambda _, moved=moved: moved[None]):
                        after = plain.at_point(plain_model, pair.clean_ids, point)
                    changes.append(float(after - before))
            assert float(effect) == pytest.approx(sum(changes) / len(changes), abs=5e-5)


@pytest.mark.parametrize("base", ["zero", "corrupted"])
@pytest.mark.parametrize("kind", KINDS)
def test_along_another_direction_x_moves_as_far_at_the_same_tokens(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], plain_model: Any, kind: Any, base: BaseName
) -> None:
    """Against the plain model with the move written out: the same length at every token, the other feature's way."""
    site, pairs = Site(kind, 2), pairs[:2]
    batch = run_batch(lm, pairs, [site], Question(base=base))
    sae = load_sae(saes[site])
    weights = {name: value.float() for name, value in load_file(saes[site].weights).items()}
    first, *others = busiest(sae, batch, 3).tolist()
    change = feature_change(batch, SiteBase.of(sae, [batch]), first)
    along = torch.tensor([first, *others])
    found = along_effects(batch, sae, first, change, along, 3)
    means = site_means(sae, batch.clean.x[site][batch.usable])
    for row, pair in enumerate(pairs):
        x, by_hand = naive_change(plain_model, site, weights, pair, base, means)
        clean = naive_metric(plain_model, site, pair, x)
        for nth, other in enumerate([first, *others]):
            way = weights["W_dec"][other] / weights["W_dec"][other].norm()
            moved = by_hand[:, first, None] * weights["W_dec"][first].norm() * way
            own = by_hand[:, first, None] * weights["W_dec"][first]
            torch.testing.assert_close(moved.norm(dim=1), own.norm(dim=1), rtol=1e-4, atol=1e-6)
            expected = naive_metric(plain_model, site, pair, x + moved) - clean
            assert float(found[nth, row]) == pytest.approx(expected, abs=5e-5)
    assert found.abs().max() > 1e-3


def test_a_pair_in_which_nothing_changes_has_no_effect_in_any_direction(
    lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    site = Site("resid_post", 1)
    sae = load_sae(saes[site])
    batch = run_batch(lm, pairs, [site], Question(base="zero"))
    busy = busiest(sae, batch, 3)
    change = feature_change(batch, SiteBase.of(sae, [batch]), int(busy[0]))
    only = change.take(change.row == 1)
    found = along_effects(batch, sae, int(busy[0]), only, busy, 2)
    assert not found[:, [0, 2, 3, 4]].any()
    assert found[:, 1].all()
    nothing = Change(*(part[:0] for part in (change.row, change.position, change.change)))
    assert not along_effects(batch, sae, int(busy[0]), nothing, busy, 2).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_total_effect_is_that_of_a_full_forward(
    lm: LanguageModel, pairs: list[Pair], plain_model: Any, kind: Any
) -> None:
    for layer in (0, 2, 5):
        site = Site(kind, layer)
        batch = run_batch(lm, pairs, [site], Question())
        assert batch.corrupted is not None
        found = total_effect(batch, site, batch.corrupted.x[site])
        for row, pair in enumerate(pairs):
            assert pair.corrupted_ids is not None
            x = plain.read(plain_model, site, pair.corrupted_ids)
            point = pair.points[-1]
            with torch.no_grad():
                before = plain.at_point(plain_model, pair.clean_ids, point)
                with plain.edited(plain_model, site, lambda _, x=x: x[None]):
                    after = plain.at_point(plain_model, pair.clean_ids, point)
            assert float(found[row]) == pytest.approx(float(after - before), abs=1e-4)
