"""SHA-256 of files; that of a large one is remembered, because hashing gigabytes takes longer than many a run.

What is remembered holds for a path (links followed: in the hub's cache its name is the etag), size, inode and time of
change. It lies in ``digests.json`` in the folder ``$SAEATTR_CACHE``, by default ``saeattr`` in the user's cache; a file
that was damaged without a new time of change is not noticed until ``digests.json`` is deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

#: Smaller files are hashed every time, in bytes.
REMEMBERED_FROM = 16 << 20
#: A file that changed so lately may change again without another time of change, in nanoseconds.
SETTLED_AFTER = 2_000_000_000


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal; of a large file that has not changed, as it was before."""
    state = path.stat()
    if state.st_size < REMEMBERED_FROM:
        return hashed(path)
    key = str(path.resolve())
    mark = [state.st_size, state.st_mtime_ns, state.st_ino]
    known = _remembered().get(key)
    if isinstance(known, dict) and known.get("mark") == mark and isinstance(known.get("sha256"), str):
        return known["sha256"]
    begun = time.time_ns()
    sha256 = hashed(path)
    after = path.stat()
    if [after.st_size, after.st_mtime_ns, after.st_ino] == mark and state.st_mtime_ns < begun - SETTLED_AFTER:
        _remember(key, {"mark": mark, "sha256": sha256})
    return sha256


def hashed(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """``$SAEATTR_CACHE``, by default ``saeattr`` in the user's cache."""
    named = os.environ.get("SAEATTR_CACHE")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "saeattr"
    return Path(named) if named else usual


def _memory() -> Path:
    return cache_folder() / "digests.json"


def _remembered() -> dict[str, object]:
    """What is remembered; nothing where that cannot be read."""
    try:
        known = json.loads(_memory().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(key: str, known: dict[str, object]) -> None:
    """Add one digest, in place of all at once; where that cannot be written, nothing is remembered."""
    try:
        path = _memory()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps({**_remembered(), key: known}, indent=1), encoding="utf-8")
        os.replace(temporary, path)
    except (OSError, RuntimeError):
        return
