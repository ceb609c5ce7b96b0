"""Pieces sent to workers, one to each at a time, and followed to their end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Future, KilledWorker

from saeattr.cluster.crew import LOST, Crew
from saeattr.cluster.remote import begin, do
from saeattr.cluster.sent import Piece, Place
from saeattr.cluster.telling import Heard
from saeattr.errors import UserError
from saeattr.progress import OnProgress
from saeattr.study.carry import Carried

#: Seconds after which it is seen whether workers came or went.
LOOK_EVERY = 1.0
#: Times that the model is opened where it ends all workers.
OPENED_AGAIN = 3


def follow(crew: Crew, place: Place, pieces: Sequence[Piece], on_progress: OnProgress) -> list[Carried]:
    """Have pieces done, what each said in order; a piece whose worker is lost is done again by another one.

    Raises:
        UserError: as it was raised in a worker; or a piece ended all workers that tried it.
    """
    found: dict[int, Carried] = {}
    left, running = list(range(len(pieces))), dict[Future, int]()
    heard = Heard(on_progress, sum(piece.what == "shards" or len(piece.items) > 1 for piece in pieces))
    with _listening(crew) as (topic, said):
        try:
            while left or running:
                for lost in crew.look():
                    on_progress("workers", f"{lost} was lost, and what it did is done again", 1, 1)
                # No more than there are workers: who is killed with its worker is then known.
                while left and len(running) < max(1, len(crew.seen)):
                    number = left.pop(0)
                    future = crew.client.submit(do, place, pieces[number], topic, number, key=_key(pieces[number]))
                    running[future] = number
                    future.add_done_callback(said.put)
                for word in _words(said):
                    if isinstance(word, Future):
                        number = running.pop(word)
                        found[number] = _result(word, str(pieces[number]))
                    else:
                        heard.hear(*word)
        finally:
            crew.client.cancel(list(running))
    return [found[number] for number in range(len(pieces))]


def begin_all(crew: Crew, place: Place, on_progress: OnProgress) -> str:
    """Open the study in all workers that are there, at least one; the type of their device.

    Raises:
        UserError: as it was raised in a worker; or opening the model ended all that tried.
    """
    with _listening(crew) as (topic, said):
        for _ in range(OPENED_AGAIN):
            while crew.look() or not crew.seen:
                on_progress("workers", "waiting for the first", 0, 1)
                list(_words(said))
            devices = _begin_round(crew, place, topic, said, Heard(on_progress, 0))
            if devices:
                return devices[0]
    raise UserError(
        f"opening the model ended all workers, {OPENED_AGAIN} times, perhaps for lack of memory: give fewer workers, "
        "or --dtype bfloat16"
    )


def _begin_round(crew: Crew, place: Place, topic: str, said: SimpleQueue[Any], heard: Heard) -> list[str]:
    """Open the study in the workers that were seen; the device of each that is still there when it is open."""
    opening: dict[Future, str] = {}
    for number, address in enumerate(sorted(crew.seen)):
        key = f"begin-{uuid.uuid4().hex}"
        future = crew.client.submit(begin, place, topic, number, workers=[address], key=key)
        opening[future] = address
        future.add_done_callback(said.put)
    devices: list[str] = []
    try:
        while opening:
            for word in _words(said):
                if not isinstance(word, Future):
                    heard.hear(*word)
                elif word in opening:
                    del opening[word]
                    devices.append(_result(word, "opening the model"))
            # One that went is not waited for.
            there = crew.threads_of
            for future in [future for future, address in opening.items() if address not in there]:
                del opening[future]
    finally:
        crew.client.cancel(list(opening))
    return devices


@contextmanager
def _listening(crew: Crew) -> Iterator[tuple[str, SimpleQueue[Any]]]:
    """A topic for workers, and what they say: futures that ended and words of progress, both for this thread."""
    topic, said = f"saeattr-{uuid.uuid4().hex}", SimpleQueue[Any]()
    crew.client.subscribe_topic(topic, lambda event: said.put(event[1]))
    try:
        yield topic, said
    finally:
        crew.client.unsubscribe_topic(topic)


def _words(said: SimpleQueue[Any]) -> Iterator[Any]:
    """What was said, at least one word if there is one in time."""
    try:
        yield said.get(timeout=LOOK_EVERY)
        while True:
            yield said.get_nowait()
    except Empty:
        return


def _key(piece: Piece) -> str:
    """As the dashboard shows it."""
    return f"{piece.what}-{piece.stage.name}-{uuid.uuid4().hex}"


def _result(future: Future, what: str) -> Any:
    try:
        return future.result()
    except KilledWorker as error:
        raise UserError(
            f"{what} ended {error.allowed_failures + 1} workers, one after the other, perhaps for lack of memory: give "
            "fewer workers or a smaller --batch-size; what is done is kept"
        ) from error
    except CancelledError as error:
        raise UserError(LOST) from error
