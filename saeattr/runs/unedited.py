"""Unedited copies beside edited ones, where a dtype rounds a batch of another shape in another way.

In bfloat16 the same prompt has another metric in a batch of another shape: by up to the effect of a small edit. An
unedited copy of the same row in the same forward is rounded as the edited one is up to its edit, so an effect is what
the edited copy has more than it. float32 needs none: there the clean run is as good.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from saeattr.runs.batch import BatchRuns


def needs_unedited(batch: BatchRuns) -> bool:
    """Whether the model's dtype is so coarse that batch shapes show in small effects."""
    return batch.lm.dtype != torch.float32


def unedited_rows(batch: BatchRuns, rows: Int[Tensor, " edits"]) -> Int[Tensor, " unedited"]:
    """The rows that unedited copies in a forward of edited ones are made of: each once, none in float32."""
    return rows.unique() if needs_unedited(batch) else rows[:0]


def with_unedited(batch: BatchRuns, rows: Int[Tensor, " edits"]) -> Int[Tensor, " copies"]:
    """The rows of all copies in one forward: of the edited ones, and behind them of the unedited ones."""
    return torch.cat([rows, unedited_rows(batch, rows)])


def forwards(batch: BatchRuns, rows: Int[Tensor, " edits"], copies: int) -> Iterator[slice]:
    """Which edited copies share a forward, in their order, so that with unedited ones it has no more than ``copies``.

    One edited copy always runs; in bfloat16 it has its unedited one beside it, whatever ``copies`` says.
    """
    if not needs_unedited(batch):
        yield from (slice(start, start + copies) for start in range(0, len(rows), copies))
        return
    start, beside = 0, set[int]()
    for nth, row in enumerate(rows.tolist()):
        if nth > start and nth - start + 1 + len(beside | {row}) > copies:
            yield slice(start, nth)
            start, beside = nth, set()
        beside.add(row)
    if len(rows):
        yield slice(start, len(rows))
