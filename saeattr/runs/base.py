"""The base value that a patched feature is set to: its value in the corrupted run, zero, or its mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.saes.sae import SparseAutoencoder

Base = Literal["corrupted", "zero", "mean"]
BASES: tuple[Base, ...] = get_args(Base)

#: Dense feature activations are made for so many bytes of tokens at a time.
DENSE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class SiteMeans:
    """Means over the tokens of a group's clean pairs (BOS excluded) at one site."""

    f: Float[Tensor, " d_sae"]
    x: Float[Tensor, " d_in"]


def token_chunks(sae: SparseAutoencoder, n_tokens: int) -> list[slice]:
    """Slices of tokens whose dense activations fit ``DENSE_BYTES``."""
    size = max(1, DENSE_BYTES // (4 * sae.d_sae))
    return [slice(start, min(start + size, n_tokens)) for start in range(0, n_tokens, size)]


def site_means(sae: SparseAutoencoder, x: Float[Tensor, "tokens d_in"]) -> SiteMeans:
    """Mean feature activation and mean activation over tokens."""
    total = torch.zeros(sae.d_sae, device=x.device)
    for chunk in token_chunks(sae, len(x)):
        total += sae.encode(x[chunk]).sum(0)
    return SiteMeans(total / len(x), x.float().mean(0))


def base_activation(
    base: Base,
    sae: SparseAutoencoder,
    x_corrupted: Float[Tensor, "tokens d_in"],
    means: SiteMeans | None,
) -> Float[Tensor, "tokens d_in"]:
    """x when every feature and the error term are at their base value.

    corrupted: the corrupted run's x. zero: f = 0 and no error, so b_dec. mean: the mean f and mean error, so the
    mean x.
    """
    if base == "corrupted":
        return x_corrupted.float()
    if base == "zero":
        return sae.b_dec.expand(x_corrupted.shape)
    assert means is not None
    return means.x.expand(x_corrupted.shape)
