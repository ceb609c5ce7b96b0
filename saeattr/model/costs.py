"""What the parts of a run take in memory, as numbers: bytes that grow evenly with the rows of a batch.

They come from a rehearsal on meta tensors: of the model at hand, or once and for all for the shapes in costs.json
(``saeattr.model.fitted``). Nothing slow is imported here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

#: Rows at which a part is counted; what it takes at others lies on the line through both.
COUNTED_ROWS = 2, 4


@dataclass(frozen=True)
class Cost:
    """Bytes: ``fixed``, and ``each`` for every row."""

    fixed: float
    each: float

    def of(self, rows: float) -> float:
        return self.fixed + self.each * rows

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.fixed + other.fixed, self.each + other.each)


NOTHING = Cost(0, 0)


@dataclass(frozen=True)
class Costs:
    """Bytes on the device beside the weights, for prompts of one length with some sites captured.

    Attributes:
        weights: the model's parameters.
        captured: what a batch's clean run with gradients and corrupted run leave behind: x, g, the layers' inputs.
        capture: the most alive at once while they run; ``captured`` is part of it.
        recorded, record: the same without gradients.
        recompute: of an edited copy, while all layers from the lowest site on run again.
        slope: of a point on the way to the base (integrated gradients), with a backward through those layers; nothing
            for methods that need no such.
        read: of a decision point, while the metric is read with gradients.
        entropy: of a token at which the whole vocabulary is read.
        sample: of a list being written, its keys and values at full length among it; ``cache``: those alone.
    """

    weights: float
    captured: Cost
    capture: Cost
    recorded: Cost
    record: Cost
    recompute: Cost
    slope: Cost
    read: Cost
    entropy: Cost
    sample: Cost = NOTHING
    cache: Cost = NOTHING

    def writing(self, longer: Costs) -> Costs:
        """The same, with lists of another length being written."""
        return dataclasses.replace(self, sample=longer.sample, cache=longer.cache)


def through(few: float, more: float, rows: tuple[int, int] = COUNTED_ROWS) -> Cost:
    """The line through what two numbers of rows take."""
    each = (more - few) / (rows[1] - rows[0])
    return Cost(few - rows[0] * each, each)
