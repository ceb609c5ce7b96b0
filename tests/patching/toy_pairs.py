"""Pairs of random tokens for tiny random models: two changed tokens, one decision."""

from __future__ import annotations

import torch

from saeattr.behaviours.pair import Pair, Point

ROLES = ("bos", "request", "request", "word", "word", "item", "newline", "item", "newline")


def toy_pairs(lengths: tuple[int, ...] = (9, 9), first_change: int = 3) -> list[Pair]:
    """Rows of these lengths whose tokens ``first_change`` and the next differ, read at the last position."""
    generator = torch.Generator().manual_seed(5)
    made = []
    for row, length in enumerate(lengths):
        clean = torch.randint(3, 60, (length,), generator=generator).tolist()
        corrupted = list(clean)
        corrupted[first_change] += 1
        corrupted[first_change + 1] += 2
        roles = (*ROLES, *["item"] * length)[:length]
        points = (Point(length - 1, (7,), (11,)),)
        made.append(Pair("toys", f"p{row}", f"p{row}", tuple(clean), tuple(corrupted), points, roles))
    return made
