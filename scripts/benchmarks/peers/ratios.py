"""Seconds and ratios of what was timed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.settings import Setting


@dataclass(frozen=True)
class TimeOf:
    """One measurement of time.

    Attributes:
        seconds: of every round, by contestant; processor: those that a processor was busy, threads together.
        different: largest difference from the core's effects.
        pairs, tokens, used: of all prompts, of all their tokens, and of those that are encoded.
    """

    name: str
    axes: tuple[str, ...]
    n_sites: int
    n_lists: int
    d_sae: int
    seconds: Mapping[str, Sequence[float]]
    processor: Mapping[str, Sequence[float]]
    different: Mapping[str, float]
    opening: float
    pairs: int
    tokens: int
    used: int

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, slow: str, fast: str, busy: bool = False) -> float | None:
        """Median over rounds of the seconds of one to those of another in the same round; None where one is missing.

        Args:
            busy: of the processor's seconds, which other work on the machine hardly changes.
        """
        seconds = self.processor if busy else self.seconds
        if slow not in seconds or fast not in seconds:
            return None
        return statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))

    def at(self, axis: str) -> int:
        """Where it stands on an axis."""
        return {"sites": self.n_sites, "lists": self.n_lists, "width": self.d_sae}[axis]


def times_of(measured: Mapping[str, Any], settings: Sequence[Setting]) -> list[TimeOf]:
    """What is measured of the settings, in their order."""
    found = []
    for setting in settings:
        one = measured.get(f"time/{setting.name}")
        if one is not None:
            place = (len(setting.shape.sites), setting.n_lists, setting.shape.d_sae)
            counts = (one["pairs"], one["tokens"], one["used"])
            opening = one["apart"].get("command", 0.0)
            took = one["seconds"], one["processor"], one["different"]
            found.append(TimeOf(setting.name, setting.axes, *place, *took, opening, *counts))
    return found
