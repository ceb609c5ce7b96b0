"""Facts run again with something edited at the final position, which is all that is computed again.

Every edit is affine, x -> scale * x + shift, at one part of one layer; several together are in force in the same run.
So a head is replaced (scale 0, shift its new z), scaled, or what attention adds is displaced (scale 1).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.model.hookpoints import as_hooked, by_position
from saeattr.model.recompute import Span, layer_input, recompute
from saeattr.patching.components import RESID_PRE, Part
from saeattr.runs.batch import BatchRuns
from saeattr.runs.effects import metric_change
from saeattr.runs.task import Task, run_pairs
from saeattr.runs.unedited import forwards, needs_unedited, with_unedited


@dataclass(frozen=True)
class Edit:
    """What becomes of a part's activation at the final position, copy by copy.

    Attributes:
        scale, shift: each dimension may be 1, and is then the same for all.
    """

    part: Part
    scale: Float[Tensor, "copies width"]
    shift: Float[Tensor, "copies width"]

    def hook(self, which: slice, n_copies: int) -> Callable[[Tensor, Any], Tensor]:
        """What puts it in, for some of the copies."""
        scale, shift = (one[which] if len(one) == n_copies else one for one in (self.scale, self.shift))

        def put(value: Tensor, hook: Any) -> Tensor:
            x = by_position(self.part, value)
            edited = x.float() * scale[:, None].to(x.device) + shift[:, None].to(x.device)
            return as_hooked(self.part, edited, value)

        return put

    def beside(self, which: slice, n_copies: int, n_unedited: int) -> Edit:
        """The edit of some of the copies, and of so many unedited ones behind them."""
        scale, shift = (one[which] if len(one) == n_copies else one for one in (self.scale, self.shift))
        n_edited = len(range(*which.indices(n_copies)))
        return Edit(
            self.part,
            torch.cat([scale.expand(n_edited, -1), scale.new_ones(n_unedited, scale.shape[1])]),
            torch.cat([shift.expand(n_edited, -1), shift.new_zeros(n_unedited, shift.shape[1])]),
        )


def final_batches(task: Task, parts: Sequence[Part]) -> list[BatchRuns]:
    """The runs of the task's facts, in batches whose prompts all end at the same position (order changes)."""
    ordered = sorted(task.pairs, key=lambda pair: len(pair.clean_ids))
    batches = []
    for _, alike in itertools.groupby(ordered, key=lambda pair: len(pair.clean_ids)):
        batches += run_pairs(dataclasses.replace(task, pairs=list(alike)), parts)
    return batches


def final_position(batch: BatchRuns) -> int:
    """Where the answer is read in every fact of a batch of ``final_batches``."""
    return batch.clean.prompts.tokens.shape[1] - 1


@torch.no_grad()
def edited_hidden(
    batch: BatchRuns, rows: Int[Tensor, " copies"], edits: Sequence[Edit], copies: int
) -> Float[Tensor, "copies d_model"]:
    """The final norm's output at the final position of copies of a batch's rows, the edits in force together.

    Args:
        batch: of ``final_batches``.
        edits: each of a part of its own; without any the copies are the clean run.
        copies: whole prompts in one forward; of single positions as many as those prompts have.
    """
    last, n_copies = final_position(batch), len(rows)
    first = min((edit.part.layer for edit in edits), default=0)
    span, size = Span(last, last + 1), copies * (last + 1)
    found = []
    for start in range(0, n_copies, size):
        which = slice(start, start + size)
        x = layer_input(batch.clean, first, rows[which], span)
        with batch.lm.hooks([(edit.part.hook_name, edit.hook(which, n_copies)) for edit in edits]):
            hidden = recompute(batch.clean, Part(RESID_PRE, first), x, rows[which], span)
        found.append(hidden[:, 0])
    return torch.cat(found)


@torch.no_grad()
def edited_changes(
    batch: BatchRuns, rows: Int[Tensor, " copies"], edits: Sequence[Edit], copies: int
) -> Float[Tensor, " copies"]:
    """How the metric of edited copies differs from the clean one; arguments as for ``edited_hidden``.

    Where the dtype is coarser than float32, from that of unedited copies beside them (``saeattr.runs.unedited``).
    """
    last = final_position(batch)
    if not needs_unedited(batch):
        # All are read in one go.
        return metric_change(batch, edited_hidden(batch, rows, edits, copies)[:, None], rows, last)
    found = []
    for part in forwards(batch, rows, copies * (last + 1)):
        every = with_unedited(batch, rows[part])
        n_unedited = len(every) - len(rows[part])
        own = [edit.beside(part, len(rows), n_unedited) for edit in edits]
        hidden = edited_hidden(batch, every, own, copies)
        found.append(metric_change(batch, hidden[:, None], rows[part], last))
    return torch.cat(found)
