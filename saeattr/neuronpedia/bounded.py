"""What comes from elsewhere, read within limits: regular files alone, and lines and JSON that the memory can hold."""

from __future__ import annotations

import errno
import gzip
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

#: Bytes of an answer, of a line of an export, of a file in the cache: many times the largest feature.
LARGEST = 16 * 2**20
#: Values in one JSON: as Python objects they take about 150 MB.
MOST_VALUES = 2_000_000
#: An export inflates to at most so many times its size, or to ``FREELY`` bytes: text of much the same rows shrinks to a
#: hundredth, a bomb to a thousandth.
MOST_INFLATED, FREELY = 400, 64 * 2**20
#: No feature's line is shorter; one that is counts as so much, since each takes its time.
SHORTEST = 256


def read_json(text: bytes) -> Any:
    """JSON of at most ``MOST_VALUES`` values.

    Raises:
        ValueError: it holds more, is nested too deep, or is no JSON that Python reads.
    """
    # Each value but the first stands behind one of these; those inside texts count too, and a feature has few.
    if sum(map(text.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES:,} values")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, but no pipe, device or folder: some of these never begin, and some never end.

    Raises:
        OSError: it is missing, cannot be read, or is not a regular file.
    """
    # Opening a pipe would wait for its other end.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_file(path: Path) -> bytes:
    """A regular file of at most ``LARGEST`` bytes.

    Raises:
        OSError: as ``open_regular``, or it is larger.
    """
    with open_regular(path) as file:
        text = file.read(LARGEST + 1)
    return _allowed(text, LARGEST, path)


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, inflated bit by bit where its name ends in ``.gz``.

    Raises:
        OSError: as ``open_regular``; a line is longer than ``LARGEST``, or the file inflates beyond ``MOST_INFLATED``.
        EOFError, zlib.error: it is damaged.
    """
    with open_regular(path) as file:
        total = max(FREELY, MOST_INFLATED * os.fstat(file.fileno()).st_size)
        lines = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
        while line := lines.readline(LARGEST + 1):
            total -= max(SHORTEST, len(_allowed(line, min(LARGEST, max(0, total)), path)))
            yield line


def _allowed(text: bytes, most: int, path: Path) -> bytes:
    if len(text) > most:
        raise OSError(errno.EFBIG, "is larger than is read", str(path))
    return text
