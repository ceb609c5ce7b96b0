"""What all workers tell, in one place: steps of the same name are added up over the pieces."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from saeattr.progress import OnProgress
from saeattr.study.run import TOGETHER


@dataclass
class Heard:
    """The progress of some pieces.

    Attributes:
        n_together: pieces that are expected to tell of a step that is made for several groups at once.
        steps: by subject and step, for each piece that told of it how much is done and how much there is.
    """

    on_progress: OnProgress
    n_together: int
    steps: dict[tuple[str, str], dict[int, tuple[int, int]]] = field(default_factory=lambda: defaultdict(dict))

    def hear(self, number: int, subject: str, step: str, done: int, total: int) -> None:
        """A piece told of a step."""
        told = self.steps[subject, step]
        told[number] = (done, total)
        all_done, all_total = (sum(one[index] for one in told.values()) for index in (0, 1))
        if subject == TOGETHER:
            # Pieces that did not get so far have as much before them.
            all_total += (self.n_together - len(told)) * max(one[1] for one in told.values())
        self.on_progress(subject, step, all_done, all_total)
