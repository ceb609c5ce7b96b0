"""Progress on standard error: what runs, how long it has taken and how much is left; a line for each finished step."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

#: Seconds that a step must have taken before it says what is left, and that must be left: less is gone when it is read.
LONG_ENOUGH, WORTH_SAYING = 3.0, 2.0


@dataclass(frozen=True)
class Step:
    """A step that runs.

    Attributes:
        began: when it was first told of; first: how much was done then (what a resumed step found, not its work).
        bar: in a terminal.
    """

    began: float
    first: int
    bar: TaskID | None = None


class StageProgress:
    """Called as ``OnProgress``: in a terminal bars of what runs, below a line for each step that is finished.

    Where standard error is no terminal (a file, a pipe, a notebook) there are the lines alone, as plain text.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._bars = Progress(
            SpinnerColumn("dots" if self._console.encoding.startswith("utf") else "line"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Times(clock),
            console=self._console,
        )
        self._steps: dict[tuple[str, str], Step] = {}
        self._finished: set[tuple[str, str]] = set()
        self._started = False

    def __enter__(self) -> StageProgress:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            if self._started:
                self._bars.stop()

    def __call__(self, group: str, stage: str, done: int, total: int) -> None:
        # Work goes on where nobody reads of it any more, or the disk that takes it down is full.
        with suppress(OSError):
            self._tell(group, stage, done, total)

    def _tell(self, group: str, stage: str, done: int, total: int) -> None:
        key, ends, now = (group, stage), done >= total, self._clock()
        step = self._steps.get(key)
        if step is None and ends and key in self._finished:
            return
        # A group may have any name.
        words = "".join(letter if letter.isprintable() else "\ufffd" for letter in f"{group}: {stage}")
        if step is None:
            step = self._steps[key] = Step(now, done, None if ends else self._bar(words, now))
        if ends:
            self._finish(key, f"{words} {done}/{total}", now)
        elif step.bar is not None:
            left = time_left(now - step.began, done - step.first, total - done)
            until = None if left is None else now + left
            self._bars.update(step.bar, completed=done, total=total, until=until)

    def _bar(self, words: str, now: float) -> TaskID | None:
        if not self._console.is_terminal:
            return None
        # Not before there is something to show: a refusal prints its one line only.
        self._bars.start()
        self._started = True
        return self._bars.add_task(escape(words), began=now, until=None)

    def _finish(self, key: tuple[str, str], words: str, now: float) -> None:
        step = self._steps.pop(key)
        self._finished.add(key)
        line = f"{words}{took(now - step.began)}"
        if step.bar is not None:
            # Bars of all that ever ran would not fit the screen.
            self._bars.remove_task(step.bar)
        if self._console.is_terminal:
            self._console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self._console.file, flush=True)


class _Times(ProgressColumn):
    """How long a step has taken and, once that can be told, about how much is left."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now

    def render(self, task: Task) -> Text:
        now, until = self._now(), task.fields["until"]
        words = clock_text(now - task.fields["began"])
        return Text(words if until is None else f"{words}, about {clock_text(max(0.0, until - now))} left")


def time_left(elapsed: float, done: int, remaining: int) -> float | None:
    """Seconds that a step still takes if it goes on as it did; None while that is not known, or not worth saying."""
    if done < 1 or elapsed < LONG_ENOUGH:
        return None
    left = elapsed / done * remaining
    return left if left >= WORTH_SAYING else None


def took(seconds: float) -> str:
    """`` in 1:05``; blank for what was told of only when it was over."""
    return f" in {clock_text(seconds)}" if seconds >= 0.5 else ""


def clock_text(seconds: float) -> str:
    """``0:07``, ``12:07`` or ``1:12:07``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
