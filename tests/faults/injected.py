"""Faults that are put into a child: at the n-th step that a run takes on the disk, or at a moment.

A step is an event of Python's auditing (PEP 578) under the study's folder: a file opened for writing, a folder made, a
file renamed or deleted. An audit hook sees it before it is taken, so that it can end the process there, or forbid it.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STEPS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "open")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _on_step(root: Path, told: Callable[[int, str], None]) -> None:
    """Have each step under ``root`` told: its number from 0 on, and what it is."""
    begin, count = str(root), [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _STEPS or (event == "open" and not (arguments[2] or 0) & _WRITES):
            return
        path = arguments[0]
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        where = os.path.abspath(os.fsdecode(path))
        if where == begin or where.startswith(f"{begin}/"):
            number = count[0]
            count[0] += 1
            told(number, f"{event} {where[len(begin) :]}")

    sys.addaudithook(hook)


def log_steps(root: Path, log: Path) -> None:
    """Write every step into a file outside of ``root``."""
    _on_step(root, lambda number, what: _append(log, f"{what}\n"))


def _append(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(line)


def signal_at(root: Path, step: int, number: int = signal.SIGKILL) -> None:
    """Send the process a signal when it is about to take a step."""

    def told(nth: int, what: str) -> None:
        if nth == step:
            os.kill(os.getpid(), number)

    _on_step(root, told)


def fail_from(root: Path, step: int, code: int, steps: int = 10**9) -> None:
    """Forbid a step, and those after it, with an error of the operating system."""

    def told(nth: int, what: str) -> None:
        if step <= nth < step + steps:
            raise OSError(code, os.strerror(code))

    _on_step(root, told)


#: Errors that a disk gives: full, broken, forbidden, mounted to be read only, over quota.
DISK_ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)


def signal_after(seconds: float, number: int = signal.SIGKILL) -> None:
    """Send the process a signal at a moment."""

    def wait() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait, daemon=True).start()


def little_memory(more: int) -> None:
    """Let the process take so many bytes of address space more than it has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def short_files(n_bytes: int) -> None:
    """Let no file grow beyond so many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
