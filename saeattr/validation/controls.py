"""Control features: those of the same site that change x as much and as often as a tested feature does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from saeattr.runs.base import SiteBase, token_chunks
from saeattr.runs.batch import BatchRuns, effect_tokens

#: Control features for each tested one.
CONTROLS = 10


@dataclass(frozen=True)
class SiteProfile:
    """How every feature of a site fires at the tokens of a group's pairs that can have an effect.

    Attributes:
        change_norm: |f_base - f_clean| |W_dec|, the length of what a patch adds to x, averaged over the tokens at
            which the feature has an entry (as in ``attribute_site``); 0 for a feature without one.
        frequency: the share of tokens at which it has one.
        activation_norm: f_clean |W_dec| averaged over all tokens.
    """

    change_norm: NDArray[np.float64]
    frequency: NDArray[np.float64]
    activation_norm: NDArray[np.float64]


@torch.no_grad()
def profile_site(base: SiteBase, batches: Sequence[BatchRuns]) -> SiteProfile:
    """Profile all features of one SAE."""
    sae = base.sae
    # Summed on the CPU: MPS has no float64.
    change, activation, entries = (torch.zeros(sae.d_sae, dtype=torch.float64) for _ in range(3))
    n_tokens = 0
    for batch in batches:
        row, position = effect_tokens(batch, base.name).nonzero(as_tuple=True)
        clean, corrupted = batch.clean.x[sae.site][row, position], batch.corrupted_x(sae.site, row, position)
        n_tokens += len(clean)
        for chunk in token_chunks(sae, len(clean)):
            f_clean = sae.encode(clean[chunk])
            entry, f_base = base.entries(f_clean, None if corrupted is None else corrupted[chunk])
            change += torch.where(entry, (f_base - f_clean).abs(), 0.0).sum(0).cpu()
            activation += f_clean.sum(0).cpu()
            entries += entry.sum(0).cpu()
    length = sae.W_dec.norm(dim=1).cpu().double()
    return SiteProfile(
        (change / entries.clamp(min=1) * length).numpy(),
        (entries / n_tokens).numpy(),
        (activation / n_tokens * length).numpy(),
    )


def match_controls(
    profile: SiteProfile, feature: int, excluded: Sequence[int], count: int = CONTROLS
) -> NDArray[np.int64]:
    """The features nearest to one in change norm and frequency, the nearest first.

    Distance is |log ratio of change norms| + |log ratio of frequencies|; at equal distance the lower index is first.

    Args:
        excluded: never chosen (the tested features of the site).

    Returns:
        at most ``count`` indices; fewer where the site has fewer other features that change at all.
    """
    can = (profile.change_norm > 0) & (profile.frequency > 0)
    can[[feature, *excluded]] = False
    candidates = np.flatnonzero(can)
    distance = sum(
        np.abs(np.log(values[candidates]) - np.log(max(values[feature], np.finfo(float).tiny)))
        for values in (profile.change_norm, profile.frequency)
    )
    return candidates[np.argsort(distance, kind="stable")[:count]]
