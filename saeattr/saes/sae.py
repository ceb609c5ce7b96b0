"""A sparse autoencoder as three small functions of its weights."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.sites import Site


class SparseAutoencoder(ABC):
    """An autoencoder at one site; all arithmetic is in float32 whatever the model's dtype.

    However f is encoded, x_hat is linear in it: f W_dec + b_dec. That is what attributions and exact effects rest on.
    """

    site: Site
    name: str
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, " d_in"]

    @property
    def d_in(self) -> int:
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        return self.W_dec.shape[0]

    @abstractmethod
    def encode(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_sae"]:
        """Feature activations, 0 or more."""

    @abstractmethod
    def pre_activation(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_sae"]:
        """What an active feature's activation has its gradient from."""

    @abstractmethod
    def take_features(self, ids: Int[Tensor, " features"]) -> SparseAutoencoder:
        """The same SAE with a few of its features only."""

    def decode(self, f: Float[Tensor, "tokens d_sae"]) -> Float[Tensor, "tokens d_in"]:
        """The reconstruction x_hat."""
        return torch.addmm(self.b_dec, f, self.W_dec)

    def rest(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_in"] | float:
        """What the SAE's makers add to x_hat for a token beside f W_dec + b_dec; it counts to the error term."""
        return 0.0


@dataclass(frozen=True)
class ReluAutoencoder(SparseAutoencoder):
    """A ReLU or JumpReLU autoencoder: features do not depend on each other, so a few are encoded alone.

    JumpReLU (Gemma Scope, arXiv 2408.05147): f = pre * (pre > threshold), with pre = x W_enc + b_enc and threshold
    >= 0. ``threshold`` None is a plain ReLU. ``subtract_b_dec`` SAEs encode x - b_dec. ``centre_input`` SAEs were made
    on a model whose residual stream has mean 0 over d_in, which changes nothing for a model with LayerNorm; they
    encode x minus that mean, and the mean stays in the error term.
    """

    site: Site
    name: str
    W_enc: Float[Tensor, "d_in d_sae"]
    b_enc: Float[Tensor, " d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, " d_in"]
    threshold: Float[Tensor, " d_sae"] | None
    subtract_b_dec: bool = False
    centre_input: bool = False

    @property
    def n_bytes(self) -> int:
        tensors = (self.W_enc, self.b_enc, self.W_dec, self.b_dec, self.threshold)
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)

    def encode(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_sae"]:
        """Feature activations, made in place: each pass over them costs a tenth of the product at a width of 768."""
        pre = self.pre_activation(x)
        # Below 0 nothing is active, whatever the threshold.
        return pre.relu_() if self.threshold is None else pre.masked_fill_(pre <= self.threshold.clamp(min=0), 0.0)

    def pre_activation(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_sae"]:
        """x W_enc + b_enc, whose slope an active ReLU or JumpReLU passes on unchanged."""
        x = x.float()
        if self.centre_input:
            x = x - x.mean(-1, keepdim=True)
        return torch.addmm(self.b_enc, x - self.b_dec if self.subtract_b_dec else x, self.W_enc)

    def take_features(self, ids: Int[Tensor, " features"]) -> ReluAutoencoder:
        """The same SAE with a few of its features only, so that little memory holds them."""
        return dataclasses.replace(
            self,
            W_enc=self.W_enc[:, ids].contiguous(),
            b_enc=self.b_enc[ids],
            W_dec=self.W_dec[ids],
            threshold=None if self.threshold is None else self.threshold[ids],
        )
