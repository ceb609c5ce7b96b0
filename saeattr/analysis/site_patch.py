"""Patching sets of features at one site of a run that may have been edited before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeattr.analysis.bases import Base, SiteMeans, base_activation, site_means, token_chunks
from saeattr.analysis.batches import BatchRuns, effect_tokens
from saeattr.analysis.directions import take_features
from saeattr.model.recompute import Span
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site


@dataclass(frozen=True)
class FeatureSet:
    """What to patch: the named features, or with ``keep`` all features of the patched sites but the named ones.

    ``errors``: the error terms of those sites too.
    """

    features: Mapping[Site, Sequence[int]] = field(default_factory=dict)
    keep: bool = False
    errors: bool = False

    @property
    def needs_all(self) -> bool:
        """Whether every feature of an SAE has to be encoded."""
        return self.keep or self.errors


@dataclass(frozen=True)
class SitePatch:
    """One site's part of patching several sets, each in its own copies of the prompts.

    Attributes:
        wanted: which features each set patches.
        errors: which sets patch the error term.
    """

    sae: SparseAutoencoder
    base: Base
    means: SiteMeans | None
    wanted: Bool[Tensor, "sets d_sae"]
    errors: Bool[Tensor, " sets"]

    @classmethod
    def of(
        cls, sae: SparseAutoencoder, batches: Sequence[BatchRuns], sets: Sequence[FeatureSet], base: Base
    ) -> SitePatch:
        device = sae.W_dec.device
        wanted = torch.zeros(len(sets), sae.d_sae, dtype=torch.bool, device=device)
        for at, one in enumerate(sets):
            wanted[at] = one.keep
            wanted[at, list(one.features.get(sae.site, ()))] = not one.keep
        errors = torch.tensor([one.errors for one in sets], device=device)
        means = None
        if base == "mean":
            means = site_means(sae, torch.cat([batch.clean.x[sae.site][batch.usable] for batch in batches]))
        return cls(sae, base, means, wanted, errors)

    @property
    def site(self) -> Site:
        return self.sae.site

    def hook(
        self, batch: BatchRuns, rows: Int[Tensor, " copies"], number: Int[Tensor, " copies"], span: Span
    ) -> Callable[[Tensor, Any], Tensor]:
        """A forward hook for a span of copies of a batch's ``rows``, copy i patched with set ``number[i]``."""
        chosen = effect_tokens(batch, self.base)[:, span.first : span.stop][rows]
        copy, position = chosen.nonzero(as_tuple=True)
        corrupted = batch.corrupted.x[self.site][:, span.first : span.stop]

        def patch(value: Tensor, hook: Any) -> Tensor:
            x = value.flatten(2).clone()
            for chunk in token_chunks(self.sae, len(copy)):
                at = copy[chunk], position[chunk]
                x_base = corrupted[rows[at[0]], at[1]].float()
                x[at] = self.patched(x[at].float(), x_base, number[at[0]]).to(x.dtype)
            return x.view_as(value)

        return patch

    def patched(
        self,
        x: Float[Tensor, "tokens d_in"],
        corrupted: Float[Tensor, "tokens d_in"],
        number: Int[Tensor, " tokens"],
    ) -> Float[Tensor, "tokens d_in"]:
        """x with the features of set ``number[t]`` at their base value in token t, the error term kept or patched."""
        wanted, errors = self.wanted[number], self.errors[number]
        sae, mean = self.sae, None if self.means is None else self.means.f
        if not errors.any():
            # Features do not depend on each other: encode those only that some token patches.
            columns = self.wanted[number.unique()].any(0).nonzero()[:, 0]
            sae, wanted = take_features(sae, columns), wanted[:, columns]
            mean = None if mean is None else mean[columns]
        f_now = sae.encode(x)
        f_base = torch.zeros_like(f_now)
        active = f_now > 0
        if self.base == "corrupted":
            f_base = sae.encode(corrupted)
            active |= f_base > 0
        elif mean is not None:
            f_base = mean.expand_as(f_now)
        patched = x + torch.where(active & wanted, f_base - f_now, 0.0) @ sae.W_dec
        if errors.any():
            e_base = base_activation(self.base, sae, corrupted, self.means) - sae.decode(f_base)
            patched = patched + torch.where(errors[:, None], e_base - (x - sae.decode(f_now)), 0.0)
        return patched
