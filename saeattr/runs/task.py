"""One group of pairs and all that is needed to work on it: the stages' functions take it whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from saeattr.behaviours.pair import Pair, chunks
from saeattr.model.hookpoints import HookPoint
from saeattr.model.loading import LanguageModel
from saeattr.progress import OnStep, quiet
from saeattr.runs.batch import BatchRuns, Rules, run_batch
from saeattr.runs.question import Pace, Question
from saeattr.saes.formats import SaeFile


@dataclass(frozen=True)
class Task:
    """What to work on, what is asked of it, and how.

    Attributes:
        pairs: of one group, unless a function says otherwise.
        saes: of the study's sites, known from their configurations; they are opened one at a time.
        on_step: told the step, how much of it is done and how much there is.
    """

    lm: LanguageModel
    pairs: Sequence[Pair]
    saes: Sequence[SaeFile] = ()
    question: Question = field(default_factory=Question)
    pace: Pace = field(default_factory=Pace)
    on_step: OnStep = quiet

    @property
    def group(self) -> str:
        return self.pairs[0].group

    @property
    def times(self) -> dict[str, int]:
        """By pair_id, how often each pair was drawn: its weight in a mean."""
        return {pair.pair_id: pair.times for pair in self.pairs}


def run_pairs(
    task: Task,
    sites: Sequence[HookPoint],
    *,
    gradients: bool = False,
    rules: Rules = lambda lm: nullcontext(),
) -> list[BatchRuns]:
    """The runs of all pairs, batch by batch; arguments as for ``run_batch``."""
    return list(iter_runs(task, sites, gradients=gradients, rules=rules))


def iter_runs(
    task: Task,
    sites: Sequence[HookPoint],
    *,
    gradients: bool = False,
    rules: Rules = lambda lm: nullcontext(),
) -> Iterator[BatchRuns]:
    """``run_pairs`` one batch at a time."""
    step, done = "forward and backward" if gradients else "forward", 0
    # A batch has corrupted runs if all of its pairs have a corrupted prompt, so those without one stand apart.
    for _, alike in itertools.groupby(task.pairs, key=lambda pair: pair.corrupted_ids is None):
        for chunk in chunks(list(alike), task.pace.batch_size):
            task.on_step(step, done, len(task.pairs))
            yield run_batch(task.lm, chunk, sites, task.question, gradients=gradients, rules=rules)
            done += len(chunk)
    task.on_step(step, done, len(task.pairs))
