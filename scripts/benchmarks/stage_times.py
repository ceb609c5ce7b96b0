"""How long each stage of what is run meanwhile took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

from saeattr.runs.memory import MemoryPlan
from saeattr.study import hands
from saeattr.study.stage import Stage, Work


@contextmanager
def stage_times(clock: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Seconds of ``clock`` by the stage's name, added to as the stages are carried out in this process."""
    took: dict[str, float] = {}
    carry_out = hands.carry_out

    def timed(stage: Stage, works: Sequence[Work], plan: MemoryPlan | None = None) -> list[str]:
        began = clock()
        told = carry_out(stage, works, plan)
        took[stage.name] = took.get(stage.name, 0.0) + clock() - began
        return told

    with mock.patch.object(hands, "carry_out", timed):
        yield took
