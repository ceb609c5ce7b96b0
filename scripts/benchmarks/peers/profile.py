"""Where the seconds of a contestant go: the main thread's stack, looked at every few milliseconds."""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: Packages whose functions are named; what others take counts for the one of these that called them.
NAMED = ("saeattr.", "benchmarks.peers.")
INTERVAL = 0.005


def profile(work: Callable[[], object]) -> dict[str, float]:
    """Seconds by function of this project, the innermost of each stack; what threads beside do is not counted."""
    with watching(threading.get_ident()) as seconds:
        work()
    return dict(sorted(seconds.items(), key=lambda one: -one[1]))


@contextmanager
def watching(thread: int) -> Iterator[dict[str, float]]:
    """While the block runs, another thread looks at this one; each look counts for the time since the last."""
    seconds: dict[str, float] = defaultdict(float)
    done = threading.Event()

    def watch() -> None:
        last = time.perf_counter()
        while not done.wait(INTERVAL):
            frame = sys._current_frames().get(thread)
            now = time.perf_counter()
            seconds[_named(frame)] += now - last
            last = now

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seconds
    finally:
        done.set()
        watcher.join()


def _named(frame: FrameType | None) -> str:
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(NAMED) and module != __name__:
            return f"{module}.{frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"
