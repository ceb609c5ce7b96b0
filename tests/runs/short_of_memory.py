"""A stand-in for a card that is too small: what runs more rows at a time than it has room for runs out of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def no_more_than(most: int, work: Callable[..., T], rows: Callable[..., int], seen: list[int]) -> Callable[..., T]:
    """The same work, out of memory above so many rows.

    Args:
        rows: how many its arguments ask for; noted in ``seen``, also where they are too many.
    """

    def limited(*args: Any, **kwargs: Any) -> T:
        seen.append(rows(*args, **kwargs))
        if seen[-1] > most:
            raise torch.cuda.OutOfMemoryError
        return work(*args, **kwargs)

    return limited


def of_prompts(lm: Any, prompts: Any, *_: Any, **__: Any) -> int:
    """Of ``capture`` and ``final_hidden``."""
    return len(prompts.tokens)
