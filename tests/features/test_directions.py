"""Direct logits from the plain model's weights; neighbours by brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from saeattr.features.directions import NormScales, direct_logits, nearest_features, norm_gain, residual_directions
from saeattr.model.loading import LanguageModel
from saeattr.saes.loading import load_sae
from saeattr.saes.sae import ReluAutoencoder
from saeattr.sites import Site, parse_site
from tests.model.toys import make_toy

SCALES = NormScales(0.25, {2: 0.5})
IDS = torch.tensor([3, 40, 7])


@pytest.mark.parametrize("address", ["resid_post.4", "mlp_out.1", "attn_z.2"])
def test_direct_logits_are_decoder_norm_and_unembedding(lm, saes, plain_model, address: str) -> None:
    site = parse_site(address)
    sae = load_sae(saes[site])
    direction = sae.W_dec[IDS]
    if site.kind == "attn_z":
        layer = plain_model.model.layers[2]
        direction = direction @ layer.self_attn.o_proj.weight.T * (1 + layer.post_attention_layernorm.weight) * 0.5
    expected = direction * (1 + plain_model.model.norm.weight) * 0.25 @ plain_model.lm_head.weight.T
    torch.testing.assert_close(direct_logits(lm, sae, IDS, SCALES), expected, rtol=1e-3, atol=1e-4)


def test_the_bias_of_the_output_projection_is_no_part_of_a_direction(tmp_path) -> None:
    """GPT-2: one unit more of a feature adds its heads through the projection's weights, and no norm is behind it."""
    toy: tuple[LanguageModel, Any] = make_toy("gpt2", tmp_path)
    lm, projection = toy[0], toy[1].transformer.h[1].attn.c_proj
    assert projection.bias.abs().max() > 0.1
    decoder = torch.randn(5, 32, generator=torch.Generator().manual_seed(4))
    sae = ReluAutoencoder(
        Site("attn_z", 1), "", torch.zeros(32, 5), torch.zeros(5), decoder, torch.zeros(32), torch.zeros(5)
    )
    chosen = torch.tensor([3, 0])
    found = residual_directions(lm, sae, chosen, NormScales(1.0, {}))
    with torch.no_grad():
        expected = projection(decoder[chosen] + 1.0) - projection(torch.ones(2, 32))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_norms_weights_are_read_off_its_answer(lm) -> None:
    torch.manual_seed(0)
    layer_norm = torch.nn.LayerNorm(8)
    layer_norm.weight.data.normal_()
    layer_norm.bias.data.normal_()
    torch.testing.assert_close(norm_gain(layer_norm, 8, lm), layer_norm.weight.data, rtol=1e-3, atol=1e-3)


def test_the_nearest_features_are_those_of_the_largest_cosine(saes) -> None:
    sae = load_sae(saes[Site("resid_post", 2)])
    ids, cosines = nearest_features(sae, IDS, 5)
    directions = sae.W_dec.numpy() / np.linalg.norm(sae.W_dec.numpy(), axis=1, keepdims=True)
    for row, feature in enumerate(IDS.tolist()):
        every = directions @ directions[feature]
        every[feature] = -2
        assert ids[row].tolist() == np.argsort(-every)[:5].tolist()
        np.testing.assert_allclose(cosines[row].numpy(), np.sort(every)[::-1][:5], rtol=1e-4)


def test_a_few_features_encode_as_in_the_whole_sae(saes) -> None:
    sae = load_sae(saes[Site("resid_post", 2)])
    x = sae.W_dec[:20] * 3
    torch.testing.assert_close(sae.take_features(IDS).encode(x), sae.encode(x)[:, IDS])
