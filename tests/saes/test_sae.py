"""What an SAE encodes, by hand and as sae-lens does it."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from saeattr.saes.loading import SaeFile, load_sae
from saeattr.saes.sae import ReluAutoencoder
from saeattr.sites import Site

#: Exact in float32, so that a pre-activation can equal it.
THRESHOLD = 0.5


def through(sae: Any) -> dict[str, torch.Tensor]:
    """Weights with which the first pre-activations are the input's channels."""
    d_in, d_sae = sae.W_enc.shape
    eye = torch.zeros(d_in, d_sae)
    eye[:, :d_in] = torch.eye(d_in)
    return {"W_enc": eye, "b_enc": torch.zeros(d_sae), "threshold": torch.full((d_sae,), THRESHOLD)}


def test_a_feature_at_its_threshold_is_off_as_in_sae_lens(saes: dict[Site, SaeFile]) -> None:
    from sae_lens import SAE

    file = saes[Site("resid_post", 2)]
    theirs = SAE.load_from_disk(file.folder, device="cpu", dtype="float32").eval()
    mine = load_sae(file)
    assert isinstance(mine, ReluAutoencoder)
    weights = through(mine)
    for name, value in weights.items():
        getattr(theirs, name).data.copy_(value)
    x = torch.zeros(1, file.d_in)
    x[0, :4] = torch.tensor([THRESHOLD, 0.5 + 2**-20, 0.5 - 2**-20, -1.0])
    found = dataclasses.replace(mine, **weights).encode(x)
    assert found[0, :4].tolist() == [0.0, 0.5 + 2**-20, 0.0, 0.0]
    with torch.no_grad():
        assert torch.equal(found, theirs.encode(x))


def test_a_threshold_of_zero_and_none_at_all_are_a_relu() -> None:
    x = torch.tensor([[-1.0, 0.0, 2.0]])
    relu = ReluAutoencoder(Site("resid_post", 0), "", torch.eye(3), torch.zeros(3), torch.eye(3), torch.ones(3), None)
    zero = dataclasses.replace(relu, threshold=torch.zeros(3))
    assert relu.encode(x).tolist() == zero.encode(x).tolist() == [[0.0, 0.0, 2.0]]
    assert relu.decode(relu.encode(x)).tolist() == [[1.0, 1.0, 3.0]]


def test_what_is_taken_off_before_encoding_is_by_hand() -> None:
    x = torch.tensor([[1.0, 5.0, 3.0]])
    plain = ReluAutoencoder(
        Site("resid_post", 0), "", torch.eye(3), torch.zeros(3), torch.eye(3), torch.tensor([0.5, 1.0, 4.0]), None
    )
    assert dataclasses.replace(plain, subtract_b_dec=True).encode(x).tolist() == [[0.5, 4.0, 0.0]]
    assert dataclasses.replace(plain, centre_input=True).encode(x).tolist() == [[0.0, 2.0, 0.0]]
    both = dataclasses.replace(plain, centre_input=True, subtract_b_dec=True)
    assert both.encode(x).tolist() == [[0.0, 1.0, 0.0]]
