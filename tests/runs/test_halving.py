"""Work goes on with half as much at a time: nothing lost, nothing done twice, one line where one does not fit."""

from __future__ import annotations

import pytest
import torch

from saeattr.errors import UserError, is_out_of_memory
from saeattr.runs.halving import batches_that_fit, until_it_fits
from saeattr.runs.question import Pace

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("n", "size", "most", "sizes"),
    [(10, 4, 99, [4, 4, 2]), (10, 4, 3, [2, 2, 2, 2, 2]), (5, 16, 1, [1] * 5), (0, 4, 1, []), (7, 7, 5, [4, 3])],
)
def test_every_item_is_worked_on_once_and_in_order(n: int, size: int, most: int, sizes: list[int]) -> None:
    def attempt(some: object) -> list[int]:
        own = list(some)  # pyright: ignore[reportArgumentType, reportCallIssue]
        if len(own) > most:
            raise torch.cuda.OutOfMemoryError
        return own

    found = list(batches_that_fit(CPU, range(n), size, attempt))
    assert [item for part in found for item in part] == list(range(n))
    assert [len(part) for part in found] == sizes


def test_what_was_done_before_memory_ran_out_is_kept_and_later_batches_stay_small() -> None:
    done: list[list[int]] = []

    def attempt(some: object) -> None:
        own = list(some)  # pyright: ignore[reportArgumentType, reportCallIssue]
        # Only the batch that holds the ninth item is too large.
        if 8 in own and len(own) > 2:
            raise RuntimeError("MPS backend out of memory")
        done.append(own)

    list(batches_that_fit(CPU, range(12), 4, attempt))
    assert done == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [10, 11]]


def test_where_one_at_a_time_does_not_fit_one_line_says_what_to_do() -> None:
    def attempt(_: object) -> None:
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(UserError) as end:
        list(batches_that_fit(CPU, range(3), 2, attempt, "one fact", "ask a smaller model"))
    assert str(end.value) == "cpu has too little memory for one fact at a time: ask a smaller model"


def test_copies_are_halved_too_and_other_errors_are_raised_as_they_are() -> None:
    seen = []

    def attempt(pace: Pace) -> None:
        seen.append((pace.batch_size, pace.copies))
        raise MemoryError if pace.copies > 5 else RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else") as end:
        until_it_fits(CPU, Pace(3, 20), attempt)
    assert seen == [(3, 20), (2, 10), (1, 5)]
    assert not is_out_of_memory(end.value)
