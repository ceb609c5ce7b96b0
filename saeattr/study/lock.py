"""One run at a time in a folder: the others wait, or are told who works there and since when.

The lock is the operating system's (``filelock``): where its holder is killed it is free at once, and who takes it over
says so. File systems without locks get a marker instead, with the time of the holder's last sign of life
(``study.soft_lock``). Reading takes no lock: whatever is written takes its place whole.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from saeattr.errors import UserError, note_on
from saeattr.files import disk_errors, write_text
from saeattr.progress import OnProgress, quiet
from saeattr.study.soft_lock import SignedLock, lacks_locks

#: The lock (or the marker in its place), and who holds it; gone when the work is done, and no content of a folder.
LOCK, MARKER, HOLDER = ".saeattr.lock", ".saeattr.marker", ".saeattr.holder.json"
#: Letters of a command that are told to others.
LONGEST_COMMAND = 160
#: Seconds between two looks at a lock that is waited for.
LOOK_EVERY = 0.5


@dataclass(frozen=True)
class Holder:
    """Who works in a folder; since: UTC, to the second."""

    user: str
    host: str
    pid: int
    command: str
    since: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host} (process {self.pid}, {self.command}, since {self.since})"


#: What this process holds, by folder and thread, with the notes of taking it: an operation may call another.
_held: dict[tuple[str, int], tuple[str, ...]] = {}


@contextmanager
def locked(root: Path, wait: bool | None = None, on_progress: OnProgress = quiet) -> Iterator[tuple[str, ...]]:
    """Hold a folder while the block runs; a folder that is made for it and stays empty is removed again.

    What the thread that holds it calls may lock it once more.

    Args:
        wait: until it is free, in place of an error; None for operations that have no such setting.

    Yields:
        what a reader should know, one line each: that a run was killed here.

    Raises:
        UserError: another run holds it (and who), or the folder cannot be written.
    """
    key = (os.path.realpath(root), threading.get_ident())
    if key in _held:
        yield _held[key]
        return
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} exists and is not a folder: give another folder with --out")
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        lock, notes = _take(root, wait, on_progress)
    except BaseException:
        _remove_empty(made)
        raise
    _held[key] = notes
    try:
        yield notes
    except BaseException as error:
        note_on(error, folder=root)
        raise
    finally:
        del _held[key]
        _give_back(root, lock)
        _remove_empty(made)


def read_holder(root: Path) -> Holder | None:
    """Who works in a folder, or did when it was killed; None where nobody does, or nothing can be told of it."""
    path = root / HOLDER
    try:
        told = json.loads(path.read_text(encoding="utf-8") if path.is_file() else "null")
        return Holder(**{name: kind(told[name]) for name, kind in _FIELDS.items()})
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def is_content(path: Path) -> bool:
    """Whether a file of a folder is more than the lock on it."""
    return not path.name.lstrip(".").startswith("saeattr.")


_FIELDS: dict[str, Any] = {"user": str, "host": str, "pid": int, "command": str, "since": str}


def _take(root: Path, wait: bool | None, on_progress: OnProgress) -> tuple[BaseFileLock, tuple[str, ...]]:
    """The lock, held, and what is to be said of who held it before; whoever holds it now can be read beside it."""
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = _acquire(root, FileLock(root / LOCK, fallback_to_soft=False), wait, on_progress)
    before = read_holder(root)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    try:
        holder = Holder(_user(), socket.gethostname(), os.getpid(), _command(), now)
        write_text(root / HOLDER, json.dumps(asdict(holder), ensure_ascii=False) + "\n")
    except BaseException:
        _give_back(root, lock)
        raise
    return lock, () if before is None else (f"{root}: {before} did not end by itself; this run goes on from there",)


def _acquire(root: Path, lock: BaseFileLock, wait: bool | None, on_progress: OnProgress) -> BaseFileLock:
    """The lock, held.

    Raises:
        UserError: another run holds it.
    """
    told = ""
    while True:
        try:
            lock.acquire(timeout=LOOK_EVERY if told else 0, poll_interval=LOOK_EVERY)
            break
        except Timeout as error:
            # Who has just begun may not have said who it is.
            holder = read_holder(root) or "another run"
            if not wait:
                later = "try again when that is done" if wait is None else "add --wait to begin when that is done"
                raise UserError(
                    f"{root} is held by {holder}: {later}, or take another folder; reading it needs no lock"
                ) from error
            if not told:
                told = f"waiting for {holder}"
                on_progress("study", told, 0, 1)
        except FileNotFoundError:
            # Who was refused removed the folder that was made for it.
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if isinstance(lock, SignedLock) or not lacks_locks(error):
                raise
            # Opening it has made the file.
            (root / LOCK).unlink(missing_ok=True)
            lock = SignedLock(root / MARKER)
    if told:
        on_progress("study", told, 1, 1)
    return lock


def _give_back(root: Path, lock: BaseFileLock) -> None:
    """Release the lock without a trace; the folder may be gone."""
    with suppress(OSError):
        (root / HOLDER).unlink(missing_ok=True)
    if os.name == "posix" and not isinstance(lock, SignedLock):
        # While it is held: who waits for this very file sees that it has no name any more, and looks again.
        with suppress(OSError):
            (root / LOCK).unlink(missing_ok=True)
    with suppress(OSError):
        lock.release()


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, the inner ones first, as far as nothing is in them."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        # A container's user need not have a name.
        return "somebody"


def _command() -> str:
    words = shlex.join([Path(sys.argv[0] or "python").name, *sys.argv[1:]])
    kept = "".join(letter if letter.isprintable() else " " for letter in words)
    return kept if len(kept) <= LONGEST_COMMAND else kept[: LONGEST_COMMAND - 3] + "..."
