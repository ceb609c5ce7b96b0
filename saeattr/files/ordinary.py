"""What is no file among files: a pipe, a socket or a device, which nobody may be about to write into."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from saeattr.errors import UserError


def check_ordinary(folder: Path) -> None:
    """Refuse a folder that holds, at any depth, what is neither a file nor a folder: to read it could wait for ever.

    Links to nothing and to themselves are left to who reads them.

    Raises:
        UserError: it holds such a thing, and which.
    """
    waiting = [folder] if folder.is_dir() else []
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif _is_odd(entry):
                    raise UserError(
                        f"{entry.path} is no ordinary file (a pipe, a socket or a device): delete it and run again"
                    )


def _is_odd(entry: os.DirEntry[str]) -> bool:
    try:
        return not entry.is_file() and not entry.is_dir() and os.path.exists(entry.path)
    except OSError:
        return False
