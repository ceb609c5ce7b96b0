"""Base values by hand, however many tokens are encoded at a time."""

from __future__ import annotations

import pytest
import torch

from saeattr.model.loading import LanguageModel
from saeattr.runs.base import SiteBase, site_means, token_chunks
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site

SAE = SparseAutoencoder(
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
    assert torch.equal(SiteBase("corrupted", SAE).activation(clean, corrupted), corrupted)
    assert SiteBase("zero", SAE).activation(clean, None).tolist() == [[10.0, 20.0]] * 3
    assert SiteBase("mean", SAE, means).activation(clean, None).tolist() == [[2.0, -1.0]] * 3


def test_the_zero_base_is_the_bias_alone(lm: LanguageModel, saes: dict[Site, SaeFile]) -> None:
    sae = load_sae(saes[Site("mlp_out", 2)])
    x = torch.randn(4, sae.d_in)
    torch.testing.assert_close(SiteBase("zero", sae).activation(x, None), sae.b_dec.repeat(4, 1))
