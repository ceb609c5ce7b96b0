"""Which token of a corrupted prompt stands beside which of the clean one.

Equally many tokens align one to one. Otherwise the prompts align by their common beginning and end, and the clean
tokens between have no partner: a feature is patched to zero there.
"""

from __future__ import annotations

from collections.abc import Sequence

from saeattr.behaviours.given.rows import RowUnusable
from saeattr.settings import Unequal


def align(clean: Sequence[int], corrupted: Sequence[int], unequal: Unequal = "refuse") -> tuple[int, ...] | None:
    """By clean position that of the corrupted prompt, -1 for none; None where they align one to one.

    Raises:
        RowUnusable: the prompts are the same, or have unequally many tokens and that is not allowed.
    """
    if tuple(clean) == tuple(corrupted):
        raise RowUnusable("clean and corrupted prompt are the same", "change one of them")
    if len(clean) == len(corrupted):
        return None
    if unequal == "refuse":
        raise RowUnusable(
            f"the clean prompt has {len(clean)} tokens and the corrupted one {len(corrupted)}",
            "use prompts of equally many, or --unequal zero (aligned by their common beginning and end; features "
            "between are patched to zero)",
        )
    shorter = min(len(clean), len(corrupted))
    start = _common(clean, corrupted, shorter)
    end = _common(clean[::-1], corrupted[::-1], shorter - start)
    between = len(clean) - start - end
    return (*range(start), *[-1] * between, *range(len(corrupted) - end, len(corrupted)))


def _common(first: Sequence[int], second: Sequence[int], most: int) -> int:
    """How many tokens both begin with, ``most`` at most."""
    return next((at for at in range(most) if first[at] != second[at]), most)
