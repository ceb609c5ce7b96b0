"""Positional ablation: the corrupted activation put into the clean run at the positions of one role at one site."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeattr.behaviours.pair import DECISION
from saeattr.model.recompute import recompute
from saeattr.runs.batch import BatchRuns, effect_tokens
from saeattr.runs.effects import decision_slots, metric_change
from saeattr.sites import Site
from saeattr.tables import ROLE_EFFECTS


def position_roles(batch: BatchRuns) -> list[tuple[str, ...]]:
    """The role of every position of each row; ``decision`` where the metric is read, so a newline is an earlier one."""
    roles = [list[str](pair.roles) for pair in batch.pairs]
    reads = batch.reads
    for row, position, weight in zip(reads.row.tolist(), reads.position.tolist(), reads.weight.tolist(), strict=True):
        if weight > 0:
            roles[row][position] = DECISION
    return [tuple(row) for row in roles]


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
    tables = []
    for site in sites:
        effects = patch_effects(batch, site, rows, masks, batch_size)
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


@torch.no_grad()
def patch_effects(
    batch: BatchRuns,
    site: Site,
    rows: Int[Tensor, " copies"],
    masks: Bool[Tensor, "copies pos"],
    batch_size: int,
) -> Float[Tensor, " copies"]:
    """The change of the metric when copy i of row ``rows[i]`` has the corrupted x where ``masks[i]`` is True."""
    assert batch.corrupted is not None
    at = decision_slots(batch)[0].to(rows.device)
    parts = []
    for start in range(0, len(rows), batch_size):
        own, mask = rows[start : start + batch_size], masks[start : start + batch_size]
        x = torch.where(mask[..., None], batch.corrupted.x[site][own], batch.clean.x[site][own])
        hidden = recompute(batch.clean, site, x, own, at=at[own])
        parts.append(metric_change(batch, hidden, own, 0))
    return torch.cat(parts)
