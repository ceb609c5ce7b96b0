"""Real processes of the command line that begin at once: forked from one that has imported everything already."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

from tests.faults.outcome import Run

#: Seconds after which a process hangs that computes (others may keep the machine busy), and one that only waits.
LIMIT, IDLE = 600.0, 20.0
LOOK_EVERY = 0.5
REPOSITORY = Path(__file__).resolve().parents[2]

Prepared = Callable[[], None]


def nothing() -> None:
    """No fault."""


@cache
def _server() -> ForkServerContext:
    """The process that children are forked from; one thread, as in its children."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.imported"])
    return context


@dataclass(frozen=True)
class Child:
    """A command that runs.

    Attributes:
        poll: its exit code (minus a signal's number), None while it runs.
        words: the folder of what it prints.
        idle: seconds without computing after which it hangs.
    """

    pid: int
    poll: Callable[[], int | None]
    words: Path
    began: float
    idle: float = IDLE

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self) -> Run:
        """Wait for its end, or stop it where it hangs."""
        code = self._code()
        seconds = time.monotonic() - self.began
        # What it started (figures are drawn in two processes) goes with it.
        _kill_group(self.pid)
        said, told = ((self.words / name).read_text(encoding="utf-8", errors="replace") for name in ("said", "told"))
        shutil.rmtree(self.words)
        return Run(code, said, told, seconds)

    def _code(self) -> int | None:
        used, since, next_look = -1.0, self.began, self.began
        while (code := self.poll()) is None:
            time.sleep(0.02)
            now = time.monotonic()
            if now < next_look:
                continue
            next_look = now + LOOK_EVERY
            if (still := _computed(self.pid)) != used:
                used, since = still, now
            if now - since > self.idle or now - self.began > LIMIT:
                return None
        return code


def start(arguments: Sequence[str], folder: Path, fault: Prepared = nothing, idle: float = IDLE) -> Child:
    """Begin ``python -m saeattr`` in a folder, in a process of its own.

    Args:
        fault: called in the child before the command; of module level, with ``functools.partial`` for its arguments.
    """
    words = Path(tempfile.mkdtemp(prefix="words-"))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    process = _server().Process(target=_run, args=(list(arguments), folder, words, fault))
    began = time.monotonic()
    process.start()
    assert process.pid is not None
    return Child(process.pid, lambda: process.exitcode, words, began, idle)


def run(arguments: Sequence[str], folder: Path, fault: Prepared = nothing) -> Run:
    """``python -m saeattr`` in a folder, to its end."""
    return start(arguments, folder, fault).wait()


def run_here(arguments: Sequence[str], folder: Path) -> Run:
    """The same as a child of this process, which is one that was forked itself."""
    words, began = Path(tempfile.mkdtemp(prefix="words-")), time.monotonic()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            _run(list(arguments), folder, words, nothing)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def poll() -> int | None:
        done, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if done else None

    return Child(pid, poll, words, began).wait()


def own_process(function: Callable[..., None], *arguments: object) -> int | None:
    """Call a function of module level in a process of its own; its exit code."""
    process = _server().Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def _run(arguments: list[str], folder: Path, words: Path, fault: Prepared) -> None:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGPIPE else signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((1, "said"), (2, "told")):
        opened = os.open(words / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    os.chdir(folder)
    sys.argv = ["saeattr", *arguments]
    from saeattr.cli import main

    fault()
    main(arguments)


def _computed(pid: int) -> float:
    """Processor time of a child and of what it started; the time now where one of them waits for a processor or a disk.

    A child leads a group, in which its own children are.
    """
    used = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid:
            if fields[0] in "RD":
                return time.monotonic()
            used += float(fields[11]) + float(fields[12])
    return used


def _kill_group(pid: int) -> None:
    """End what is left of a child and of its own children; it leads a group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
