"""Runs of several groups that wait for the SAEs: where beside the study, and how many groups' at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from saeattr.files import disk_errors
from saeattr.runs.kept import HELD_ON_HOST, RunStore
from saeattr.runs.task import Task

T = TypeVar("T")


@contextmanager
def waiting_store(root: Path) -> Iterator[RunStore]:
    """A store whose files lie in a study's folder while the block runs."""
    # Processes on several machines may have the same id.
    with disk_errors(root):
        folder = Path(tempfile.mkdtemp(prefix=".unfinished-runs-", dir=root))
    try:
        yield RunStore(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def in_rounds(items: Sequence[T], size: Callable[[T], int], root: Path) -> Iterator[list[T]]:
    """Items as many together as their waiting runs have room for: in memory, and in half of what the disk has left.

    Args:
        size: of the runs of one, in bytes; one item makes a round however large it is.
    """
    room = HELD_ON_HOST + shutil.disk_usage(root).free // 2
    together: list[T] = []
    taken = 0
    for item in items:
        if together and taken + size(item) > room:
            yield together
            together, taken = [], 0
        together.append(item)
        taken += size(item)
    if together:
        yield together


def run_bytes(task: Task, n_values: int) -> int:
    """Of the runs of a task's pairs, so many numbers a token in the model's dtype."""
    longest = max(len(pair.clean_ids) for pair in task.pairs)
    return len(task.pairs) * longest * n_values * task.lm.dtype.itemsize
