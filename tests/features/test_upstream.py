"""Upstream effects against finite differences through hooks on the plain Hugging Face model."""

from __future__ import annotations

import pytest
import torch

from saeattr.features.upstream import Target, upstream_features
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from saeattr.saes.loading import load_sae
from saeattr.saes.sae import ReluAutoencoder
from saeattr.sites import Site, parse_site
from tests.plain import edited, read


def strongest(plain_model, sae, site: Site, ids: tuple[int, ...]) -> tuple[int, int]:
    """The feature and position of the largest activation behind BOS."""
    f = sae.encode(read(plain_model, site, ids)[1:])
    position, feature = divmod(int(f.argmax()), sae.d_sae)
    return feature, position + 1


@pytest.mark.parametrize(("here", "there"), [("resid_post.3", "mlp_out.1"), ("attn_z.4", "resid_post.2")])
def test_an_upstream_effect_is_the_slope_of_the_activation(lm, saes, pairs, plain_model, here: str, there: str) -> None:
    site, earlier = parse_site(here), parse_site(there)
    sae, up = load_sae(saes[site]), load_sae(saes[earlier])
    assert isinstance(sae, ReluAutoencoder)
    feature, position = strongest(plain_model, sae, site, pairs[1].clean_ids)
    target = Target(sae.take_features(torch.tensor([feature])), feature, 1, position)
    (found,) = upstream_features(
        Task(lm, pairs, [saes[earlier], saes[site]], pace=Pace(batch_size=2)), [target], count=3
    )
    assert {one.site for one in found.features} == {earlier}
    for one in found.features:
        amount = up.encode(read(plain_model, earlier, pairs[1].clean_ids))[:, one.feature]
        amount[0] = 0  # BOS

        def activation(step: float, one=one, amount=amount) -> float:
            def edit(x):
                return x + step * amount[:, None] * up.W_dec[one.feature]

            with edited(plain_model, earlier, edit):
                x = read(plain_model, site, pairs[1].clean_ids)
            return float(x[position] @ sae.W_enc[:, feature])

        slope = (activation(0.01) - activation(-0.01)) / 0.02
        assert one.effect == pytest.approx(slope, rel=0.03, abs=0.01)


def test_features_and_error_term_add_up_and_no_batch_matters(lm, saes, pairs, plain_model) -> None:
    site = Site("resid_post", 2)
    sae = load_sae(saes[site])
    targets = []
    for number in (0, 2, 3):
        feature, position = strongest(plain_model, sae, site, pairs[number].clean_ids)
        targets.append(Target(sae.take_features(torch.tensor([feature])), feature, number, position))
    files = [saes[Site("resid_post", 1)], saes[Site("attn_z", 2)], saes[Site("resid_post", 5)]]
    together = upstream_features(Task(lm, pairs, files, pace=Pace(batch_size=8)), targets)
    alone = upstream_features(Task(lm, pairs, files, pace=Pace(batch_size=1)), targets)
    for one, other in zip(together, alone, strict=True):
        assert [site for site, _, _ in one.sites] == [Site("resid_post", 1), Site("attn_z", 2)]
        for (_, features, error), (_, again, error_again) in zip(one.sites, other.sites, strict=True):
            assert features == pytest.approx(again, abs=1e-3)
            assert error == pytest.approx(error_again, abs=1e-3)
        assert [f.feature for f in one.features[:3]] == [f.feature for f in other.features[:3]]


def test_features_and_error_term_are_slopes_of_the_activation_over_all_tokens_but_bos(
    lm, saes, pairs, plain_model
) -> None:
    """Removing a site's features is going from x to x minus what they write; its error term is the rest, less b_dec."""
    site, earlier = Site("resid_post", 3), Site("resid_post", 1)
    sae, up = load_sae(saes[site]), load_sae(saes[earlier])
    targets = []
    for number in (0, 1, 3):
        feature, position = strongest(plain_model, sae, site, pairs[number].clean_ids)
        targets.append(Target(sae.take_features(torch.tensor([feature])), feature, number, position))
    found = upstream_features(Task(lm, pairs, [saes[earlier]], pace=Pace(batch_size=4)), targets)
    for target, one in zip(targets, found, strict=True):
        ids = pairs[target.pair].clean_ids
        x = read(plain_model, earlier, ids)
        f = up.encode(x)
        written, error = f @ up.W_dec, x - up.decode(f)
        slopes = []
        for change in (written, error):

            def activation(step: float, change=change, target=target, ids=ids) -> float:
                moved = torch.cat([torch.zeros_like(change[:1]), change[1:]])
                with edited(plain_model, earlier, lambda stream: stream + step * moved):
                    return float(read(plain_model, site, ids)[target.position] @ target.sae.W_enc[:, 0])

            slopes.append((activation(0.005) - activation(-0.005)) / 0.01)
        ((_, features, error_effect),) = one.sites
        assert features == pytest.approx(slopes[0], rel=0.02, abs=0.02)
        assert error_effect == pytest.approx(slopes[1], rel=0.02, abs=0.02)
        assert abs(slopes[1]) > 0.1
        assert all(feature.position > 0 for feature in one.features)
