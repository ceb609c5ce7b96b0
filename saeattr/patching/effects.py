"""Effects of patching a component at places, and head by head: exact, or by the gradient of one backward.

Exact: x becomes the other run's x at the place (of one head, or of all), and the layers above run again. By gradient
(attribution patching, Nanda 2023): (other - own) . d metric / d own, summed over the place. The sums are linear: over
the heads, or the roles, they add up to the whole; exact effects need not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.patching.activations import Activations
from saeattr.patching.places import Place
from saeattr.runs.batch import BatchRuns
from saeattr.runs.patches import ALL_HEADS, Patches, patch_effects


def make_patches(places: Sequence[Place], n_heads: int, by_head: bool) -> Patches:
    """A copy for each place, or for each place and head."""
    heads = list(range(n_heads)) if by_head else [ALL_HEADS]
    masks = torch.stack([place.mask for place in places]).repeat_interleave(len(heads), dim=0)
    rows = torch.tensor([place.row for place in places], device=masks.device).repeat_interleave(len(heads))
    return Patches(rows, masks, torch.tensor(heads, device=masks.device).repeat(len(places)), n_heads)


def exact_effects(batch: BatchRuns, found: Activations, patches: Patches, copies: int) -> Float[Tensor, " copies"]:
    """The change of the clean run's metric that each patch makes."""
    return patch_effects(batch, found.point, patches, copies, found.other)


@torch.no_grad()
def gradient_effects(found: Activations, patches: Patches) -> Float[Tensor, " copies"]:
    """The first-order estimate of it; the clean run must have gradients."""
    assert found.g is not None
    own, other = found.own.float(), found.other.float()
    # What no query may see has a score of minus infinity, or the lowest number, in both runs.
    products = torch.where(own == other, 0.0, other - own) * found.g.float()
    by_head = products.unflatten(2, (patches.n_heads, -1)).sum(3)
    summed = torch.stack(
        [by_head[row, mask].sum(0) for row, mask in zip(patches.row.tolist(), patches.mask, strict=True)]
    )
    one = summed.gather(1, patches.head.clamp(min=0)[:, None])[:, 0]
    return torch.where(patches.head == ALL_HEADS, summed.sum(1), one)
