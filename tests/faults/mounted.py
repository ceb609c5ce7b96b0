"""A small file system of a process's own, where the system lets it mount one: it is gone with the process."""

from __future__ import annotations

import ctypes
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.children import own_process, run_here
from tests.faults.outcome import Run
from tests.faults.studies import difference

_NEW_NAMESPACE, _NEW_USER, _REMOUNT = 0x00020000, 0x10000000, 32


@dataclass(frozen=True)
class Mounted:
    """A folder on which a file system of so many bytes is mounted."""

    folder: Path
    n_bytes: int


def _call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _mount(disk: Mounted, flags: int = 0) -> None:
    size = f"size={disk.n_bytes}".encode()
    _call("mount", b"tmpfs", os.fsencode(disk.folder), b"tmpfs", ctypes.c_ulong(flags), size)


def _own_names() -> None:
    """Mounts of this process and its children are nobody else's."""
    user, group = os.getuid(), os.getgid()
    _call("unshare", _NEW_NAMESPACE | (_NEW_USER if user else 0))
    if user:
        Path("/proc/self/setgroups").write_text("deny", encoding="utf-8")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="utf-8")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="utf-8")
    # Nothing is passed on to where these mounts were copied from.
    _call("mount", b"none", b"/", None, ctypes.c_ulong((1 << 18) | 16384), None)


def can_mount() -> bool:
    """Whether a process may mount a file system of its own here."""
    return own_process(_try_mount) == 0


def _try_mount() -> None:
    _own_names()
    _mount(Mounted(Path("/mnt"), 1 << 20))


def run_on_a_small_disk(command: Sequence[str], disk: Mounted, whole: Path) -> tuple[Run, Run, str]:
    """A command on a disk that is too small, again when the disk has grown, and what then differs from ``whole``."""
    disk.folder.mkdir()
    words = disk.folder.with_name(f"{disk.folder.name}-words")
    own_process(_run_twice, list(command), disk, whole, words)
    return pickle.loads(words.read_bytes())


def _run_twice(command: list[str], disk: Mounted, whole: Path, words: Path) -> None:
    _own_names()
    _mount(disk)
    first = run_here(command, disk.folder)
    wrong = difference(disk.folder / "s", whole) if first.code == 0 else ""
    _mount(Mounted(disk.folder, 1 << 28), _REMOUNT)
    second = run_here(command, disk.folder)
    wrong = wrong or difference(disk.folder / "s", whole)
    words.write_bytes(pickle.dumps((first, second, wrong)))
