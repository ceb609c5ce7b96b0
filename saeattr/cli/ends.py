"""How the program ends where it does not end well: one line for the user, a log for who mends it, and an exit code."""

from __future__ import annotations

import errno
import io
import os
import platform
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from saeattr.digests import cache_folder
from saeattr.errors import Circumstances, Terminated, circumstances, is_out_of_memory, one_line

#: What a process ends with that a signal ended: 128 and the signal's number, as shells have it.
INTERRUPTED, PIPE_CLOSED, TERMINATED = 130, 141, 143
#: A fault of the program, or of the machine.
FAILED = 1

PACKAGES = ("saeattr", "torch", "transformers", "transformer-lens", "sae-lens", "numpy", "pandas", "pyarrow")


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """While the block runs SIGTERM (as at Slurm's time limit) ends work as Ctrl-C does: what is held is stored."""
    usual = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if not usual:
        yield
        return

    def end(*_: Any) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def print_anything() -> None:
    """Let standard output show a replacement for what its encoding lacks, in place of an error."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="replace")


def say(line: str) -> None:
    """Print a line on standard error, as far as it can be written."""
    with suppress(OSError, ValueError):
        print(one_line(line), file=sys.stderr, flush=True)


def close_pipe() -> int:
    """Where nobody reads what is printed (``| head``): nothing more is, and nothing is said of it."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED


def answer(error: BaseException, arguments: Sequence[str]) -> int:
    """Say what there is to say of what ended a command; the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return interrupted(error, arguments)
    return close_pipe() if isinstance(error, BrokenPipeError) else failed(error, arguments)


def interrupted(error: KeyboardInterrupt, arguments: Sequence[str]) -> int:
    """Say what is kept, and which command goes on."""
    found, ended = circumstances(error), isinstance(error, Terminated)
    doing = f" in {found.doing}" if found.doing else ""
    say(f"{'terminated' if ended else 'interrupted'}{doing}: {_kept(found)}{_goes_on(found, arguments)}")
    return TERMINATED if ended else INTERRUPTED


def failed(error: BaseException, arguments: Sequence[str]) -> int:
    """Say what was being done, what is kept, and where the log is; lack of memory says what to do."""
    found = circumstances(error)
    doing = found.doing or shlex.join(["saeattr", *arguments[:1]])
    if isinstance(error, OSError):
        # It may be standard output that cannot be written: what is left for it is not tried again at the end.
        close_pipe()
    log = write_log(error, arguments, found)
    where = "no log could be written" if log is None else f"the log is {log}"
    if is_out_of_memory(error):
        say(
            f"error: memory ran out in {doing}: give a smaller --batch-size, a limit with --vram, or --dtype bfloat16; "
            f"{_kept(found)}{_goes_on(found, arguments)}; {where}"
        )
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        say(f"error: the disk is full in {doing}: free space; {_kept(found)}{_goes_on(found, arguments)}; {where}")
    else:
        said = (str(error).strip().splitlines() or ["no message"])[0]
        say(
            f"error: {doing} failed with {type(error).__name__} ({said}), which is a fault of the program or of the "
            f"machine; {_kept(found)}; {where}"
        )
    return FAILED


def write_log(error: BaseException, arguments: Sequence[str], found: Circumstances) -> Path | None:
    """The traceback with versions, command and settings: in the study's ``logs``, or in the user's cache.

    Returns:
        its path; None where it cannot be written.
    """
    own = found.folder if found.folder is not None and (found.folder / "study.yaml").exists() else None
    for root in (own, cache_folder()):
        with suppress(Exception):
            if root is not None:
                path = root / "logs" / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}.log"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(_log(error, arguments, own), encoding="utf-8", errors="backslashreplace")
                return path
    return None


def _log(error: BaseException, arguments: Sequence[str], study: Path | None) -> str:
    lines = [f"command: {shlex.join(['saeattr', *arguments])}", f"python: {sys.version}".replace("\n", " ")]
    lines += [f"platform: {platform.platform()}", *(f"{name}: {_version(name)}" for name in PACKAGES), ""]
    lines += traceback.format_exception(type(error), error, error.__traceback__)
    if study is not None:
        with suppress(OSError, UnicodeDecodeError):
            lines += ["", "study.yaml:", (study / "study.yaml").read_text(encoding="utf-8")]
    return "\n".join(line.rstrip("\n") for line in lines) + "\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _kept(found: Circumstances) -> str:
    if found.folder is None or not found.folder.exists():
        return "nothing is stored"
    return f"{found.folder} keeps {found.kept}" if found.kept else f"what {found.folder} held is kept"


def _goes_on(found: Circumstances, arguments: Sequence[str]) -> str:
    """Where there is something to go on from, the command that does."""
    return f"; to go on: {shlex.join(['saeattr', *arguments])}" if found.folder and found.folder.exists() else ""
