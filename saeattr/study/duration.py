"""How long a study will take: what was counted of its work, at the speed that this machine was measured to have.

A rough estimate (docs/timing.md says how rough).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saeattr.runs.memory import MemoryPlan

if TYPE_CHECKING:
    from saeattr.runs.speed import Speed

#: A layer's forward takes as long as so many small operations beside its products: measured with the bundled model on
#: prompts of two tokens, where it is nearly all that a layer takes.
OPERATIONS = 300


@dataclass(frozen=True)
class Part:
    """One part of a stage.

    Attributes:
        prompts, copies, writing: FLOPs of the model's products, by how many tokens share a forward.
        encoding: FLOPs of SAEs' products; n_bytes: that are read from files; to_card: that go on to a card.
        layers: forwards of a layer.
    """

    stage: str
    name: str
    prompts: float = 0
    copies: float = 0
    writing: float = 0
    encoding: float = 0
    n_bytes: float = 0
    layers: float = 0

    def seconds(self, speed: Speed) -> float:
        """Work is done one after the other; a card copies what is read."""
        copying = 0.0 if speed.copying is None else self.n_bytes / speed.copying
        products = self.prompts / speed.prompts + self.copies / speed.copies + self.writing / speed.writing
        files = self.n_bytes / speed.reading + copying
        return products + self.encoding / speed.encoding + files + self.layers * OPERATIONS / speed.operations

    def rests_on(self, speed: Speed) -> str:
        """What takes most of it, for a reader."""
        shares = {
            f"{_short(self.prompts + self.copies + self.writing, 'FLOP')} of the model": dataclasses.replace(
                self, encoding=0, n_bytes=0, layers=0
            ),
            f"{_short(self.encoding, 'FLOP')} of SAEs": Part(self.stage, self.name, encoding=self.encoding),
            f"{_short(self.n_bytes, 'B')} of files": Part(self.stage, self.name, n_bytes=self.n_bytes),
            f"{self.layers:,.0f} forwards of a layer": Part(self.stage, self.name, layers=self.layers),
        }
        costs = {said: part.seconds(speed) for said, part in shares.items()}
        return ", ".join(said for said in sorted(costs, key=lambda said: -costs[said]) if costs[said] > 0)


@dataclass(frozen=True)
class Duration:
    """The estimate for one group of so many pairs: its parts, and the speed that they rest on."""

    n_pairs: int
    parts: tuple[Part, ...]
    speed: Speed

    @property
    def seconds(self) -> float:
        return sum(part.seconds(self.speed) for part in self.parts)

    def of_stage(self, stage: str) -> float:
        return sum(part.seconds(self.speed) for part in self.parts if part.stage == stage)


@dataclass(frozen=True)
class TimedPlan(MemoryPlan):
    """A plan of memory with an estimate of time; None where the model's configuration does not tell its shape."""

    duration: Duration | None = None


def _short(amount: float, unit: str) -> str:
    """``3.2 TFLOP``."""
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if amount >= size:
            return f"{amount / size:.3g} {prefix}{unit}"
    return f"{amount:.3g} {unit}"
