"""The first-order size of a site: attribution patching of x's own coordinates, before any SAE is at hand.

A site's features share out (x_corrupted - x_clean) . g among themselves. So do its coordinates, which are there
without an SAE: the effect of coordinate j is the mean over lists of sum_pos g_j (x_corrupted - x_clean)_j, and the
site's size is the Euclidean norm of these effects. What cancels in the signed sum still counts, as it does among
features; many small effects count for less than a few large ones, and in docs/selection.md that comes nearer to the
largest features' exact effects than the sum of absolute effects does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saeattr.analysis.batches import BatchRuns, effect_tokens, site_tokens
from saeattr.sites import Site

FIRST_ORDER_COLUMNS = ["topic", "layer", "kind", "at_decision", "size"]


def first_order_sizes(topic: str, batches: Sequence[BatchRuns], sites: Sequence[Site]) -> pd.DataFrame:
    """The size of every site, apart for the positions at which the metric is read and for those before.

    Args:
        batches: all lists of the topic, with x of both runs and g at ``sites``.

    Returns:
        topic, layer, kind, at_decision (bool), size (in the metric's unit).
    """
    n_lists = sum(len(batch.pairs) for batch in batches)
    rows = []
    for site in sites:
        parts = torch.stack([coordinate_effects(batch, site) for batch in batches]).sum(0) / n_lists
        for at_decision, size in zip((False, True), parts.norm(dim=1).tolist(), strict=True):
            rows.append((topic, np.int16(site.layer), site.kind, at_decision, size))
    return pd.DataFrame(rows, columns=FIRST_ORDER_COLUMNS)


def coordinate_effects(batch: BatchRuns, site: Site) -> Float[Tensor, "2 d_in"]:
    """g * (x_corrupted - x_clean) summed over lists and positions: those before the decision, and the decision's."""
    tokens = site_tokens(batch, site, effect_tokens(batch, "corrupted"))
    effects = (tokens.corrupted - tokens.clean) * tokens.g
    decides = decision_mask(batch)[tokens.row, tokens.position]
    return effects.new_zeros(2, effects.shape[1]).index_add(0, decides.long(), effects)


def decision_mask(batch: BatchRuns) -> Bool[Tensor, "batch pos"]:
    """Where the metric is read."""
    reads, mask = batch.reads, torch.zeros_like(batch.usable)
    used = reads.weight > 0
    mask[reads.row[used], reads.position[used]] = True
    return mask
