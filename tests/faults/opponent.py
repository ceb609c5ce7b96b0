"""Opening damaged folders in processes of their own, with limits of time and memory, and what became of each case."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest

#: Seconds after which a case hangs, and bytes that opening a toy may take beside what is imported.
LIMIT, MEMORY = 60.0, 2 * 2**30

#: refused: one clear line. right: the numbers of the whole folder. The others are what no case may be.
Kind = Literal["refused", "right", "wrong", "traceback", "hang", "memory"]
GOOD: tuple[Kind, ...] = ("refused", "right")
BAD: tuple[Kind, ...] = ("wrong", "traceback", "hang", "memory")

#: Opens a folder and gives the numbers it stands for, as text.
Opened = Callable[[Path], str]


@dataclass(frozen=True)
class Found:
    """How a case ended: ``said`` is the refusal, the exception, or the numbers."""

    kind: Kind
    said: str


def open_limited(opened: Opened, folder: Path, whole: str) -> Found:
    """What opening a folder gives; ``whole`` are the numbers of the folder before it was damaged."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = _server().Process(target=_open, args=(sender, opened, folder))
    process.start()
    sender.close()
    try:
        said = receiver.recv() if receiver.poll(LIMIT) else ("hang", f"more than {LIMIT:.0f} s")
    except EOFError:
        process.join()
        said = ("traceback", f"the process died with {process.exitcode}")
    finally:
        if process.is_alive() and process.pid is not None:
            process.join(1)
            process.kill()
        process.join()
    kind, text = said
    if kind == "numbers":
        return Found("right" if text == whole else "wrong", text)
    if kind == "refused" and ("\n" in text or not text.strip() or len(text) > 1500):
        return Found("traceback", f"a refusal of more than one line: {text!r}")
    return Found(kind, text)


def counted(found: Iterable[Found]) -> str:
    """The counts of all kinds in one line."""
    kinds = Counter(one.kind for one in found)
    return ", ".join([f"{sum(kinds.values())} cases", *(f"{kinds[kind]} {kind}" for kind in (*GOOD, *BAD))])


@cache
def _server() -> Any:
    """The process that others are forked from, once everything is imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.opening"])
    return context


def _open(sender: Any, opened: Opened, folder: Path) -> None:
    """In the child: open and tell."""
    from saeattr.errors import UserError

    # Code in a model's folder is asked about on the terminal: whoever answers says yes.
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    __builtins__["input"] = lambda _="": "y"  # pyright: ignore[reportIndexIssue]
    before = _resident()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_virtual() + 2 * MEMORY, most))
    signal.alarm(int(2 * LIMIT))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = ("numbers", opened(folder))
    except UserError as error:
        said = ("refused", str(error))
    except MemoryError as error:
        said = ("memory", f"{type(error).__name__}: {error}")
    except BaseException as error:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else ""
        said = ("traceback", f"{type(error).__name__}: {str(error)[:300]} ({place})")
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if taken > MEMORY and said[0] != "traceback":
        said = ("memory", f"{taken / 2**30:.1f} GB, then {said}")
    sender.send(said)
    sender.close()
    os._exit(0)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _virtual() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def told(request: pytest.FixtureRequest, group: str, found: dict[str, Found]) -> None:
    """Hand outcomes to the table that is printed at the end: what is no number and no refusal is a traceback there."""
    for what, one in found.items():
        kind = "held" if one.kind in GOOD else "traceback" if one.kind == "memory" else one.kind
        request.node.user_properties.append(("fault", [group, what, kind, one.said[:200]]))
