"""JSON files of folders that nobody vouches for: an ordinary file of bounded size, an object, each name once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from saeattr.errors import UserError

#: Bytes that a configuration or an index may have; the largest published index has 10 MB.
LARGEST = 64 * 2**20


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        what: it is to be, for the message: ``the configuration of an SAE``.

    Raises:
        UserError: it is missing, no ordinary file (a pipe would be waited for), too large, or no such JSON.
    """
    check_ordinary(path)
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise ValueError(f"it has {size:,} bytes, {LARGEST:,} are read at most")
        found = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_once)
    except RecursionError as error:
        raise UserError(f"{path} is not {what}: it is nested too deeply") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not {what}: {str(error).splitlines()[0][:200]}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is not {what}: it is no JSON object")
    return found


def check_ordinary(path: Path) -> None:
    """Refuse what is there and is no file, or cannot be opened: a folder, a pipe, a device, a link to nothing.

    Raises:
        UserError: it is missing, or is something else than a file.
    """
    if path.is_file():
        return
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link to nothing: get the file again")
    there = "is a folder" if path.is_dir() else "is no ordinary file" if path.exists() else "is missing"
    raise UserError(f"{path} {there}: get the file again")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Which of two values of a name is meant is not known."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {next(name for name in names if names.count(name) > 1)!r} twice")
    return found
