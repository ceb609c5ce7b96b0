"""Controls of equal length: x is moved as far, at the same tokens, along the decoder directions of other features.

What a patch does is a matter of where it is, how far it moves x, and which way. A control shares the first two with the
tested feature by construction, token by token, and takes its direction from another feature that is active at the
site: a way in which x does vary there, and not one that the tested feature shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from saeattr.runs.base import SiteBase, token_chunks
from saeattr.runs.batch import BatchRuns, effect_tokens
from saeattr.saes.sae import SparseAutoencoder

#: Controls for each tested feature: with 39, the strongest of 40 directions is one that chance picks in 1 of 40 cases.
CONTROLS = 39
#: A direction nearer than this to the tested feature's is no control for it.
NEAREST = 0.5


@dataclass(frozen=True)
class SiteProfile:
    """How every feature of a site fires at the tokens of a group's pairs that can have an effect.

    Attributes:
        frequency: the share of tokens at which it has an entry (as in ``attribute_site``).
        activation_norm: f_clean |W_dec| averaged over all tokens.
    """

    frequency: NDArray[np.float64]
    activation_norm: NDArray[np.float64]

    @property
    def active(self) -> NDArray[np.int64]:
        """The features that have an entry anywhere."""
        return np.flatnonzero(self.frequency)


@torch.no_grad()
def profile_site(base: SiteBase, batches: Sequence[BatchRuns]) -> SiteProfile:
    """Profile all features of one SAE."""
    sae = base.sae
    # Summed on the CPU: MPS has no float64.
    activation, entries = (torch.zeros(sae.d_sae, dtype=torch.float64) for _ in range(2))
    n_tokens = 0
    for batch in batches:
        row, position = effect_tokens(batch, base.name).nonzero(as_tuple=True)
        clean, corrupted = batch.clean.x[sae.site][row, position], batch.corrupted_tokens(sae.site, row, position)
        n_tokens += len(clean)
        for chunk in token_chunks(sae, len(clean)):
            f_clean = sae.encode(clean[chunk])
            entry, _ = base.entries(f_clean, None if corrupted is None else corrupted.take(chunk))
            activation += f_clean.sum(0).cpu()
            entries += entry.sum(0).cpu()
    length = sae.W_dec.norm(dim=1).cpu().double()
    return SiteProfile((entries / n_tokens).numpy(), (activation / n_tokens * length).numpy())


def draw_controls(
    sae: SparseAutoencoder, profile: SiteProfile, features: Sequence[int], count: int, seed: int
) -> NDArray[np.int64]:
    """Features to take directions from, drawn among the active ones; what else is tested has no say in it.

    Args:
        features: never chosen, nor any feature whose direction is within |cosine| ``NEAREST`` of one of theirs.
        seed: the same features and seed give the same controls, and fewer of them give the first of more.

    Returns:
        at most ``count`` indices, no two the same; fewer where the site has no more.
    """
    directions = torch.nn.functional.normalize(sae.W_dec, dim=1)
    near = (directions @ directions[list(features)].T).abs().amax(dim=1).cpu().numpy() >= NEAREST
    candidates = profile.active[~near[profile.active]]
    site = sae.site
    source = np.random.default_rng([seed, *map(ord, str(site)), *features])
    return candidates[source.permutation(len(candidates))[:count]]


def draw_stand_ins(
    sae: SparseAutoencoder, profile: SiteProfile, features: Sequence[int], n_sets: int, seed: int
) -> list[list[int]]:
    """Sets with another feature for each of ``features``, in their order; no feature is in two places of a set.

    Returns:
        ``n_sets`` sets; none where the site has too few other features.
    """
    drawn = [draw_controls(sae, profile, features, len(features), seed + nth).tolist() for nth in range(n_sets)]
    return drawn if len(drawn[0]) == len(features) else []


def stand_in_move(
    change: Float[Tensor, "tokens features"],
    own: Float[Tensor, "features d_in"],
    others: Float[Tensor, "features d_in"],
) -> Float[Tensor, "tokens d_in"]:
    """How x moves if other features change in place of some, their joint move scaled to the same length token by token.

    Args:
        change: f_base - f of the features that are stood in for.
        own, others: decoder rows of these and of their stand-ins.

    Returns:
        sum_i change_i |own_i| others_i / |others_i|, scaled to |sum_i change_i own_i|; 0 where nothing changes.
    """
    moved = (change * own.norm(dim=1)) @ torch.nn.functional.normalize(others, dim=1)
    wanted = (change @ own).norm(dim=1, keepdim=True)
    return moved * (wanted / moved.norm(dim=1, keepdim=True).clamp(min=torch.finfo(moved.dtype).tiny))
