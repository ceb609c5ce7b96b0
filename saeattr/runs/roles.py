"""What the positions of a batch are for: the pairs' roles, with ``decision`` where the metric is read."""

from __future__ import annotations

from saeattr.behaviours.pair import DECISION
from saeattr.runs.batch import BatchRuns


def position_roles(batch: BatchRuns) -> list[tuple[str, ...]]:
    """The role of every position of each row; ``decision`` where the metric is read, so a newline is an earlier one."""
    roles = [list[str](pair.roles) for pair in batch.pairs]
    reads = batch.reads
    for row, position, weight in zip(reads.row.tolist(), reads.position.tolist(), reads.weight.tolist(), strict=True):
        if weight > 0:
            roles[row][position] = DECISION
    return [tuple(row) for row in roles]
