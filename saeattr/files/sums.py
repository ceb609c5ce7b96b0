"""Which bytes a study's files have: ``SHA256SUMS``, in the format of ``sha256sum`` (``sha256sum -c SHA256SUMS``).

Tables that are written together lie in a folder with sums of its own, which appears with them. Whatever else is written
into a study is listed by the file at the study's root. There the sum of what a file is going to be is added before the
file is replaced, and that of what it was is removed afterwards: whatever stops in between, one of the two is its own.

A file is hashed once a process, and again where its size, inode or times have changed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from saeattr.digests import SETTLED_AFTER, hashed
from saeattr.errors import UserError

#: The sums, and the lock while they are changed.
SUMS, LISTING = "SHA256SUMS", ".saeattr.listing.lock"
#: What makes a folder a study.
RECORD = "study.yaml"
#: The deepest files of a study are ``STAGE/VARIANT/GROUP/TABLE.parquet``.
DEPTH = 4
#: A folder of tables that are being written is named so; its own sums come with it.
UNFINISHED = ".unfinished-"

MISSING, UNLISTED = "it is missing", f"no {SUMS} lists it"
ODD = "it is no ordinary file"
OTHER = f"its SHA-256 is not the one in {SUMS}"

#: By path: size, times and inode of a file when it was hashed, and its SHA-256.
_hashes: dict[str, tuple[tuple[int, ...], str]] = {}


def fault(path: Path) -> str | None:
    """What is wrong with a file, in words; None where it is what was written, or nothing is known of it.

    A file of a study that no sum is known of is not proven, and so not taken.
    """
    found = _fault(path)
    # A study that is being written may have replaced the file after its sum was read.
    return found and _fault(path)


def check_whole(path: Path) -> None:
    """Refuse a damaged file.

    Raises:
        UserError: it is not what was written, and what mends it.
    """
    found = fault(path)
    if found is not None:
        raise UserError(f"{path} is damaged ({found}): {advice(path)}")


def advice(path: Path) -> str:
    """What mends a damaged file of a study."""
    root = study_root(path)
    if root is None:
        return "make it again, or take a copy that is whole"
    return f"run what made it again, such as saeattr attribute with the same settings and --out {root}"


def is_stored(path: Path) -> bool:
    """Whether a file is there, or should be."""
    return path.exists() or bool(known_sums(path))


def stored_files(folder: Path) -> list[Path]:
    """The Parquet files of a study's folder that are there, or should be."""
    root = study_root(folder)
    name = None if root is None else folder.absolute().relative_to(root).as_posix()
    listed = () if root is None else (root / known for known in listed_sums(root) if known.startswith(f"{name}/"))
    return sorted({path.absolute() for path in (*folder.glob("*.parquet"), *listed) if path.suffix == ".parquet"})


def known_sums(path: Path) -> tuple[str, ...] | None:
    """The sums that a file may have; none of a study's file that is not listed, None of what no study has."""
    own = listed_sums(path.parent).get(path.name)
    root = study_root(path)
    if own is not None or root is None:
        return own
    return listed_sums(root).get(path.absolute().relative_to(root).as_posix(), ())


def study_root(path: Path) -> Path | None:
    """The study that a file lies in, or is to lie in; None outside of one."""
    path = path.absolute()
    if path.name == RECORD:
        return path.parent
    return next((folder for folder in list(path.parents)[:DEPTH] if (folder / RECORD).is_file()), None)


def listed_sums(folder: Path) -> dict[str, tuple[str, ...]]:
    """By file name, below the folder, the sums that are listed; a line that is none says nothing."""
    path = folder / SUMS
    try:
        # Reading a pipe would wait for ever.
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        digest, between, name = line.partition("  ")
        if between and name and len(digest) == 64:
            found[name] = (*found.get(name, ()), digest)
    return found


def sums_text(sums: Mapping[str, Iterable[str]]) -> str:
    """As ``sha256sum`` writes them, in the order of names."""
    return "".join(f"{digest}  {name}\n" for name, digests in sorted(sums.items()) for digest in digests)


def folder_sums(folder: Path) -> str:
    """The sums of all files of a folder."""
    return sums_text({path.name: [hashed(path)] for path in folder.iterdir() if path.name != SUMS})


@contextmanager
def listed(path: Path, temporary: Path) -> Iterator[None]:
    """While a file of a study is replaced by ``temporary``, its sum may be that of either, and then of the new one.

    Hidden files (who holds the lock) are no results.
    """
    root = study_root(path)
    if root is None or path.parent.name.startswith(UNFINISHED) or path.name.startswith("."):
        yield
        return
    name, digest = path.absolute().relative_to(root).as_posix(), hashed(temporary)
    with _changing(root) as sums:
        sums[name] = tuple(dict.fromkeys([*sums.get(name, ()), digest]))
    yield
    with _changing(root) as sums:
        sums[name] = (digest,)


def list_again(path: Path, digest: str) -> None:
    """Put a file of a study into its sums whose digest is known from elsewhere, if it is that file."""
    root = study_root(path)
    if root is not None and path.is_file() and sha256_of(path) == digest:
        with _changing(root) as sums:
            sums[path.absolute().relative_to(root).as_posix()] = (digest,)


def remove_stored(path: Path) -> None:
    """Delete a file or folder of a study, and take it out of the study's sums."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    root = study_root(path)
    if root is None:
        return
    name = path.absolute().relative_to(root).as_posix()
    if any(_is_within(known, name) for known in listed_sums(root)):
        with _changing(root) as sums:
            for known in [known for known in sums if _is_within(known, name)]:
                del sums[known]


def _is_within(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")


@contextmanager
def _changing(root: Path) -> Iterator[dict[str, tuple[str, ...]]]:
    """The sums of a study, to be changed."""
    with alone(root):
        sums = listed_sums(root)
        yield sums
        temporary = root / f".{SUMS}.{os.getpid()}.tmp"
        try:
            temporary.write_text(sums_text(sums), encoding="utf-8")
            os.replace(temporary, root / SUMS)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """While the block runs, no other process is in such a block: workers and reports write into one study.

    Raises:
        OSError: another process has been in one for a minute.
    """
    # Where the file system has no locks, a marker.
    with FileLock(root / LISTING, timeout=60, is_singleton=True) as lock:
        try:
            yield
        finally:
            if lock.lock_counter == 1:
                # While it is held: who waits for this very file sees that it has no name any more, and looks again.
                with suppress(OSError):
                    (root / LISTING).unlink()


def _fault(path: Path) -> str | None:
    if path.exists() and not path.is_file():
        # A folder cannot be read, and a pipe never ends.
        return ODD
    known = known_sums(path)
    if known is None:
        return None
    if not known:
        return UNLISTED if path.exists() else None
    try:
        return None if sha256_of(path) in known else OTHER
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return error.strerror or type(error).__name__


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content; of one that has not changed, as it was before."""
    key, mark, begun = str(path.absolute()), _mark(path), time.time_ns()
    if key in _hashes and _hashes[key][0] == mark:
        return _hashes[key][1]
    digest = hashed(path)
    if path.stat().st_mtime_ns < begun - SETTLED_AFTER and _mark(path) == mark:
        _hashes[key] = (mark, digest)
    return digest


def _mark(path: Path) -> tuple[int, ...]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino
