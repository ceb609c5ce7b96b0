"""What happens to files: cut off, emptied, changed, gone, in another's place, or something that is no file."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], None]


def cut(path: Path) -> None:
    """Only the first half is there, as after a copy that broke off."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path, place: float) -> None:
    """One bit is another, at a share of the file's length."""
    content = bytearray(path.read_bytes())
    if content:
        content[min(int(place * len(content)), len(content) - 1)] ^= 0x10
    path.write_bytes(bytes(content))


def flipped_in_the_middle(path: Path) -> None:
    flipped(path, 0.5)


def flipped_early(path: Path) -> None:
    """Among the first numbers of a table."""
    flipped(path, random.Random(path.name).uniform(0.01, 0.2))


def flipped_anywhere(path: Path) -> None:
    flipped(path, random.Random(f"{path.parent.name}/{path.name}").random())


def deleted(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    """Nobody ever writes into it."""
    path.unlink()
    os.mkfifo(path)


def a_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nothing-there")


def a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


#: By name; ``swapped_with`` is another's file in its place.
DAMAGES: dict[str, Damage] = {
    "cut": cut,
    "emptied": emptied,
    "flipped early": flipped_early,
    "flipped in the middle": flipped_in_the_middle,
    "flipped anywhere": flipped_anywhere,
    "deleted": deleted,
    "a folder": a_folder,
    "a pipe": a_pipe,
    "a link to nothing": a_link_to_nothing,
    "a link to itself": a_link_to_itself,
}


def swapped_with(path: Path, other: Path) -> None:
    """Put another file in the place of one."""
    shutil.copyfile(other, path)


def files(folder: Path) -> list[Path]:
    """Every file of a folder, relative to it."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def like_of_another_group(study: Path, file: Path, groups: tuple[str, str]) -> Path | None:
    """The file that another group has in its place, ``attribution/rivers/features.parquet``; None for one of all."""
    one, other = groups if groups[0] in str(file) else groups[::-1]
    return study / str(file).replace(one, other) if one in str(file) else None
