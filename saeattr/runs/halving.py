"""Half as much at a time, as often as memory runs out: of work as a whole, or from the batch on that did not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from saeattr.errors import UserError, is_out_of_memory
from saeattr.runs.question import Pace

Item = TypeVar("Item")
T = TypeVar("T")

#: What to do where not even one at a time fits: of a study, and of work without sites.
FEWER_SITES = "name fewer --sites, or use --dtype bfloat16 or --device cpu"
SMALLER_MODEL = "use --dtype bfloat16 or --device cpu"


def until_it_fits(
    device: torch.device, pace: Pace, attempt: Callable[[Pace], T], one: str = "one pair", mend: str = FEWER_SITES
) -> tuple[T, Pace]:
    """Attempt work, with half as many pairs and copies at a time as often as memory runs out.

    Args:
        one, mend: the least that is tried, and what to do where it does not fit, in the words of the error.

    Returns:
        what the attempt gave, and the pace it was made at.

    Raises:
        UserError: one pair and one copy at a time do not fit.
    """
    while True:
        try:
            return attempt(pace), pace
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if pace.batch_size == 1 and pace.copies == 1:
                raise UserError(f"{device} has too little memory for {one} at a time: {mend}") from error
        # Behind the error, which held on to the tensors of the attempt.
        if device.type == "cuda":
            torch.cuda.empty_cache()
        halved = {"batch_size": (pace.batch_size + 1) // 2, "copies": (pace.copies + 1) // 2}
        pace = dataclasses.replace(pace, **halved)


def batches_that_fit(
    device: torch.device,
    items: Sequence[Item],
    batch_size: int,
    attempt: Callable[[Sequence[Item]], T],
    one: str = "one pair",
    mend: str = SMALLER_MODEL,
) -> Iterator[T]:
    """Attempt work on all items, in order and some at a time; what each batch gave.

    The batch that does not fit is begun again with half as many, and so are those behind it; those before it stay.

    Args:
        attempt: keeps nothing of a batch that it did not finish.
        one, mend: as for ``until_it_fits``.

    Raises:
        UserError: one item at a time does not fit.
    """
    # Nothing here has edited copies of its own.
    start, pace = 0, Pace(batch_size, copies=1)
    while start < len(items):
        found, pace = until_it_fits(device, pace, _from(items, start, attempt), one, mend)
        yield found
        start += pace.batch_size


def _from(items: Sequence[Item], start: int, attempt: Callable[[Sequence[Item]], T]) -> Callable[[Pace], T]:
    """The attempt on the batch that starts there."""
    return lambda pace: attempt(items[start : start + pace.batch_size])
