"""A worker's side of Dask: which piece on which device, what is told of it, and when to stop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from distributed import Worker, get_worker

from saeattr.cluster.sent import Piece, Place
from saeattr.cluster.worker import carry, open_study
from saeattr.study.carry import Carried

#: Seconds between two words on the same step.
TOLD_EVERY = 0.25


class Stopped(Exception):
    """Nobody waits for the piece any more."""


def do(place: Place, piece: Piece, topic: str, number: int) -> Carried:
    """Do a piece here; ``topic`` and ``number`` say where its progress is told."""
    worker = get_worker()
    return carry(place, _device(place, worker), piece, _Telling(worker, topic, number))


def begin(place: Place, topic: str, number: int) -> str:
    """Check that this worker sees what it has to, and open the model; the type of its device."""
    worker = get_worker()
    return open_study(place, _device(place, worker), _Telling(worker, topic, number))


def _device(place: Place, worker: Worker) -> str:
    return place.devices[int(worker.name) % len(place.devices)] if place.devices else ""


@dataclass
class _Telling:
    """Called as ``OnProgress`` in a worker: tells the process that plans, not too often, and stops where it is gone."""

    worker: Worker
    topic: str
    number: int
    last: dict[tuple[str, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._key = self.worker.get_current_task()

    def __call__(self, subject: str, step: str, done: int, total: int) -> None:
        task = self.worker.state.tasks.get(self._key)
        if task is None or task.state == "cancelled":
            raise Stopped
        now = time.monotonic()
        if done >= total or now - self.last.get((subject, step), 0.0) >= TOLD_EVERY:
            self.last[subject, step] = now
            self.worker.log_event(self.topic, [self.number, subject, step, int(done), int(total)])
