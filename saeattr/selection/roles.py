"""Positional ablation: the corrupted activation put into the clean run at the positions of one role at one site."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saeattr.runs.batch import BatchRuns, effect_tokens
from saeattr.runs.patches import ALL_HEADS, Patches, patch_effects
from saeattr.runs.roles import position_roles
from saeattr.sites import Site
from saeattr.tables import ROLE_EFFECTS


def positional_ablation(batch: BatchRuns, sites: Sequence[Site], batch_size: int) -> pd.DataFrame:
    """The exact effect of patching each role's positions together, at each site and in each pair.

    Only the layers above a site run, with up to ``batch_size`` edited copies in one forward. Positions at which both
    runs are equal, or which the metric cannot see, have no effect: a role that has no others in a pair has no row.

    Args:
        batch: its clean run captured with what ``recompute`` needs, both runs with x at ``sites``.

    Returns:
        group, pair_id, layer, kind, role, effect (the change of the metric, signed).
    """
    chosen = effect_tokens(batch, "corrupted")
    roles = position_roles(batch)
    edits: list[tuple[int, str, Tensor]] = []
    for row, own in enumerate(roles):
        for role in dict.fromkeys(own):
            named = torch.tensor([other == role for other in own], device=chosen.device)
            mask = chosen[row].clone()
            mask[: len(own)] &= named
            if mask.any():
                edits.append((row, role, mask))
    rows = torch.tensor([row for row, _, _ in edits], device=chosen.device)
    masks = torch.stack([mask for _, _, mask in edits])
    patches = Patches(rows, masks, torch.full_like(rows, ALL_HEADS))
    tables = []
    for site in sites:
        effects = patch_effects(batch, site, patches, batch_size)
        tables.append(
            pd.DataFrame(
                {
                    "group": [batch.pairs[row].group for row, _, _ in edits],
                    "pair_id": [batch.pairs[row].pair_id for row, _, _ in edits],
                    "layer": np.int16(site.layer),
                    "kind": site.kind,
                    "role": [role for _, role, _ in edits],
                    "effect": effects.cpu().double().numpy(),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)[ROLE_EFFECTS.names]
