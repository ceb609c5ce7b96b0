"""The base: which entries exist, and what a feature becomes when it is patched. The rule is here and nowhere else.

| base | f becomes | where a feature has an entry | error term |
| --- | --- | --- | --- |
| corrupted | its value in the corrupted run | active in either run | that of the corrupted run |
| zero | 0 | active in this run | 0, so x becomes b_dec |
| mean | its mean over the clean tokens | active in this run | so that x becomes the mean x |

Where prompts of unequal length are aligned, a token without a partner in the corrupted prompt has the zero base.

With the mean base almost every feature has a small mean everywhere: a mean is set where the feature is active, and what
that leaves out counts in the sum over all features alone (``saeattr.attribution.site``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeattr.runs.batch import BatchRuns, CorruptedTokens, clean_tokens
from saeattr.saes.sae import SparseAutoencoder
from saeattr.saes.sizes import DENSE_BYTES
from saeattr.settings import BaseName

BASES: tuple[BaseName, ...] = get_args(BaseName)


@dataclass(frozen=True)
class SiteMeans:
    """Means over the clean tokens of a group's pairs (BOS excluded) at one site."""

    f: Float[Tensor, " d_sae"]
    x: Float[Tensor, " d_in"]


@dataclass(frozen=True)
class SiteBase:
    """What the features of one SAE are patched to; ``means`` is there for the mean base alone."""

    name: BaseName
    sae: SparseAutoencoder
    means: SiteMeans | None = None

    @classmethod
    def of(cls, sae: SparseAutoencoder, batches: Sequence[BatchRuns]) -> SiteBase:
        """The base that the runs were asked for."""
        name = batches[0].question.base
        means = site_means(sae, clean_tokens(batches, sae.site)) if name == "mean" else None
        return cls(name, sae, means)

    def entries(
        self, f: Float[Tensor, "tokens d_sae"], corrupted: CorruptedTokens | None
    ) -> tuple[Bool[Tensor, "tokens d_sae"], Float[Tensor, "tokens d_sae"]]:
        """Which features have an entry at which token, and what all features become.

        Args:
            f: activations in the run that is patched.
            corrupted: the corrupted run at the same tokens; needed for the corrupted base alone.
        """
        active = f > 0
        if self.name == "corrupted":
            assert corrupted is not None
            f_base = self.sae.encode(corrupted.x)
            if corrupted.there is not None:
                f_base = torch.where(corrupted.there[:, None], f_base, 0.0)
            return active | (f_base > 0), f_base
        if self.name == "zero":
            return active, f.new_zeros(()).expand_as(f)
        assert self.means is not None
        return active, self.means.f.expand_as(f)

    def change(
        self, f: Float[Tensor, "tokens d_sae"], corrupted: CorruptedTokens | None
    ) -> Float[Tensor, "tokens d_sae"]:
        """f_base - f, 0 where a feature has no entry."""
        entry, f_base = self.entries(f, corrupted)
        return torch.where(entry, f_base - f, 0.0)

    def activation(
        self, x: Float[Tensor, "tokens d_in"], corrupted: CorruptedTokens | None
    ) -> Float[Tensor, "tokens d_in"]:
        """What x becomes when every feature and the error term are at their base value."""
        if self.name == "corrupted":
            assert corrupted is not None
            if corrupted.there is None:
                return corrupted.x
            return torch.where(corrupted.there[:, None], corrupted.x, self.sae.b_dec)
        if self.name == "zero":
            return self.sae.b_dec.expand(x.shape)
        assert self.means is not None
        return self.means.x.expand(x.shape)

    def of_features(self, ids: Int[Tensor, " features"]) -> SiteBase:
        """The same for a few features of the SAE, so that only they are encoded."""
        means = None if self.means is None else dataclasses.replace(self.means, f=self.means.f[ids])
        return SiteBase(self.name, self.sae.take_features(ids), means)


def site_means(sae: SparseAutoencoder, x: Float[Tensor, "tokens d_in"]) -> SiteMeans:
    """Mean feature activation and mean activation over tokens."""
    total = torch.zeros(sae.d_sae, device=x.device)
    for chunk in token_chunks(sae, len(x)):
        total += sae.encode(x[chunk]).sum(0)
    return SiteMeans(total / len(x), x.float().mean(0))


def token_chunks(sae: SparseAutoencoder, n_tokens: int) -> list[slice]:
    """Slices of tokens whose dense activations fit ``DENSE_BYTES``."""
    size = max(1, DENSE_BYTES // (4 * sae.d_sae))
    return [slice(start, min(start + size, n_tokens)) for start in range(0, n_tokens, size)]
