"""Clean and corrupted prompts, token by token, and what a stage has to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from saeattr.behaviours.lists.parsing import ParsedList
from saeattr.behaviours.lists.roles import Role


@dataclass(frozen=True)
class Pair:
    """Two token sequences of the same length that differ at ``swap_positions`` only.

    Attributes:
        decision_positions: the line break after each complete item that has one.
        item_positions: the last token of each complete item.
        roles: one for each position; the same for both sequences.
        parsed: the clean sequence as a list.
    """

    topic: str
    list_id: str
    clean_ids: tuple[int, ...]
    corrupted_ids: tuple[int, ...]
    swap_positions: tuple[int, ...]
    decision_positions: tuple[int, ...]
    item_positions: tuple[int, ...]
    roles: tuple[Role, ...]
    parsed: ParsedList


@dataclass(frozen=True)
class PairBatch:
    """Pairs padded on the right to one length; ``mask`` is True at real tokens."""

    clean: Int[Tensor, "batch pos"]
    corrupted: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    decision_positions: tuple[tuple[int, ...], ...]


def pad_pairs(pairs: Sequence[Pair], pad_id: int, device: torch.device | str = "cpu") -> PairBatch:
    """Stack one or more pairs."""
    lengths = torch.tensor([len(pair.clean_ids) for pair in pairs])
    width = int(lengths.max())

    def stack(rows: list[tuple[int, ...]]) -> Int[Tensor, "batch pos"]:
        return torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows], device=device)

    return PairBatch(
        clean=stack([pair.clean_ids for pair in pairs]),
        corrupted=stack([pair.corrupted_ids for pair in pairs]),
        mask=(torch.arange(width) < lengths[:, None]).to(device),
        decision_positions=tuple(pair.decision_positions for pair in pairs),
    )
