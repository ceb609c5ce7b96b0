"""What the positions of a batch are for: the pairs' roles, with ``decision`` where the metric is read."""

from __future__ import annotations

from saeattr.runs.batch import BatchRuns

#: The role of the positions at which the metric is read, whatever else they are; ``newline`` is then an earlier one.
DECISION = "decision"


def position_roles(batch: BatchRuns) -> list[tuple[str, ...]]:
    """The role of every position of each row, with ``decision`` where the metric is read."""
    roles = [list[str](pair.roles) for pair in batch.pairs]
    reads = batch.reads
    for row, position, weight in zip(reads.row.tolist(), reads.position.tolist(), reads.weight.tolist(), strict=True):
        if weight > 0:
            roles[row][position] = DECISION
    return [tuple(row) for row in roles]
