"""Activation patching: what one run has at some positions put into the other, and the layers above run again.

Only what a patch can change is computed: the layers from it on, from its first position on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeattr.model.hookpoints import HookPoint
from saeattr.model.recompute import Span, recompute
from saeattr.runs.batch import BatchRuns
from saeattr.runs.effects import decision_slots, metric_change
from saeattr.runs.unedited import forwards, unedited_rows

#: In place of a head: all of them.
ALL_HEADS = -1


@dataclass(frozen=True)
class Patches:
    """Edited copies of a batch's rows, and what of each is patched.

    Attributes:
        row: the row of the batch that each copy is made of.
        mask: the positions patched, one at least; none in an unedited copy.
        head: the head patched, or ``ALL_HEADS``.
        n_heads: how many the activation has, side by side.
    """

    row: Int[Tensor, " copies"]
    mask: Bool[Tensor, "copies pos"]
    head: Int[Tensor, " copies"]
    n_heads: int = 1

    def take(self, which: Int[Tensor, " some"]) -> Patches:
        """Some of the copies."""
        return Patches(self.row[which], self.mask[which], self.head[which], self.n_heads)

    def with_unedited(self, batch: BatchRuns) -> Patches:
        """With the unedited copies that run beside these, behind them (``saeattr.runs.unedited``)."""
        beside = unedited_rows(batch, self.row)
        if not len(beside):
            return self
        mask = torch.cat([self.mask, self.mask.new_zeros(len(beside), self.mask.shape[1])])
        head = torch.cat([self.head, torch.full_like(beside, ALL_HEADS)])
        return Patches(torch.cat([self.row, beside]), mask, head, self.n_heads)

    def put(
        self, own: Float[Tensor, "copies pos width"], other: Float[Tensor, "copies pos width"]
    ) -> Float[Tensor, "copies pos width"]:
        """``other`` at what is patched, ``own`` elsewhere."""
        heads = torch.arange(self.n_heads, device=own.device)
        picked = (self.head[:, None] == ALL_HEADS) | (self.head[:, None] == heads)
        where = (self.mask[:, :, None] & picked[:, None, :])[..., None]
        parts = (x.unflatten(2, (self.n_heads, -1)) for x in (other, own))
        return torch.where(where, *parts).flatten(2)


@torch.no_grad()
def patch_effects(
    batch: BatchRuns,
    point: HookPoint,
    patches: Patches,
    copies: int,
    other: Float[Tensor, "batch pos width"] | None = None,
) -> Float[Tensor, " copies"]:
    """The change of the clean run's metric that each patched copy makes; arguments as for ``patch_changes``."""
    return patch_changes([batch], point, patches, copies, other)[0]


@torch.no_grad()
def patch_changes(
    asked: Sequence[BatchRuns],
    point: HookPoint,
    patches: Patches,
    copies: int,
    other: Float[Tensor, "batch pos width"] | None = None,
) -> Float[Tensor, "questions copies"]:
    """The change of the clean run's metric that each patched copy makes, in several metrics read of one forward.

    Copies that are patched late and read early share a forward, so that few positions are computed for nothing.

    Args:
        asked: the same pairs run for one question after the other, all read at the same points; the first's clean run
            was captured at ``point`` with what ``recompute`` needs.
        copies: in one forward, unedited ones among them.
        other: what is put in; by default the corrupted run's activation.
    """
    batch = asked[0]
    if other is None:
        assert batch.corrupted is not None
        other = batch.corrupted.x[point]
    own, n_positions = batch.clean.x[point], patches.mask.shape[1]
    at = decision_slots(batch)[0].to(own.device)
    last = at.amax(1)[patches.row]
    first = patches.mask.long().argmax(1)
    order = torch.argsort(first * n_positions + last, stable=True)
    effects = torch.empty(len(asked), len(order), device=own.device)
    for part in forwards(batch, patches.row[order], copies):
        which = order[part]
        some = patches.take(which).with_unedited(batch)
        span = Span(int(first[which].min()), max(int(last[which].max()), int(first[which].max())) + 1)
        inside = slice(span.first, span.stop)
        spanned = Patches(some.row, some.mask[:, inside], some.head, some.n_heads)
        x = spanned.put(own[:, inside][some.row], other[:, inside][some.row])
        hidden = recompute(batch.clean, point, x, some.row, span, at[some.row].clamp(min=span.first))
        for nth, one in enumerate(asked):
            effects[nth, which] = metric_change(one, hidden, patches.row[which], span.first)
    return effects
