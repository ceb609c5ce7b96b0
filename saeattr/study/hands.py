"""Who does a study's work: this process, or others to whom it is handed out (``saeattr.cluster``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from saeattr.errors import during
from saeattr.model.loading import LanguageModel, load_model
from saeattr.progress import OnProgress
from saeattr.runs.memory import MemoryPlan
from saeattr.study.carry import carry_out
from saeattr.study.prepare import Prepared
from saeattr.study.stage import Stage, Work


class Hands(Protocol):
    """What ``run_stages`` leaves to others: opening the model, and carrying out a stage for some groups."""

    def open_model(self, prepared: Prepared, group: str, on_progress: OnProgress) -> LanguageModel:
        """As ``open_model``; called once, when there is something to do."""
        ...

    def carry_out(self, stage: Stage, works: Sequence[Work], plan: MemoryPlan | None) -> list[str]:
        """As ``saeattr.study.carry.carry_out``: what each group gave is stored when this returns."""
        ...


@dataclass(frozen=True)
class Here:
    """This process does everything, one piece after the other.

    Attributes:
        lm: the study's model, where it is open.
    """

    lm: LanguageModel | None = None

    def open_model(self, prepared: Prepared, group: str, on_progress: OnProgress) -> LanguageModel:
        return open_model(prepared, group, on_progress) if self.lm is None else self.lm

    def carry_out(self, stage: Stage, works: Sequence[Work], plan: MemoryPlan | None) -> list[str]:
        return carry_out(stage, works, plan)


HERE = Here()


def open_model(prepared: Prepared, group: str, on_progress: OnProgress) -> LanguageModel:
    """The study's model on its device; ``group`` is the one that is waiting for it."""
    settings, passed = prepared.settings, prepared.passed.model
    if passed is not None:
        return passed.lm
    with during("loading the model"):
        on_progress(group, "loading the model", 0, 1)
        lm = load_model(settings.model, device=settings.device, dtype=settings.dtype or "float32")
        on_progress(group, "loading the model", 1, 1)
    return lm
