"""Ways of damaging files that any folder has: bytes cut and flipped, something else in a file's place, JSON changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

#: Damages a copy of a folder.
Damage = Callable[[Path], object]


def cut(name: str, keep: int | float) -> Damage:
    """The first bytes of a file: so many, or such a part of it; less than 0 is counted from its end."""

    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])

    return damage


def flip(name: str, at: int | float) -> Damage:
    """One byte changed, at an offset or at such a part of the file."""

    def damage(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[int(len(data) * at) if isinstance(at, float) else at] ^= 0xFF
        (folder / name).write_bytes(bytes(data))

    return damage


def write(name: str, data: bytes | str) -> Damage:
    return lambda folder: _write(folder / name, data)


def _write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def in_its_place(name: str, what: str) -> Damage:
    """``fifo``, ``folder``, a link to itself, to nothing, or to a device that never ends."""

    def damage(folder: Path) -> None:
        path = folder / name
        path.unlink(missing_ok=True)
        if what == "fifo":
            os.mkfifo(path)
        elif what == "folder":
            path.mkdir()
        else:
            targets = {"loop": path.name, "dangling": "nowhere", "zero": "/dev/zero", "null": "/dev/null"}
            path.symlink_to(targets[what])

    return damage


PLACES = ("fifo", "folder", "loop", "dangling", "zero", "null")

#: A field that is not there any more.
GONE = object()


def fields(name: str, **changes: Any) -> Damage:
    """Fields of a JSON object, by their names with __ for a level below."""

    def damage(folder: Path) -> None:
        path = folder / name
        whole = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for key, value in changes.items():
            *above, last = key.split("__")
            at = whole
            for level in above:
                at = at.setdefault(level, {})
            if value is GONE:
                at.pop(last, None)
            else:
                at[last] = value
        path.write_text(json.dumps(whole), encoding="utf-8")

    return damage


def replaced(name: str, old: str, new: str) -> Damage:
    """Text of a file, such as what JSON as Python writes it cannot hold."""

    def damage(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text, (name, old)
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return damage


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], None]) -> Damage:
    """The tensors of a safetensors file."""

    def damage(folder: Path) -> None:
        held = load_file(folder / name)
        change(held)
        save_file({key: value.contiguous() for key, value in held.items()}, folder / name, metadata={"format": "pt"})

    return damage


def header(name: str, change: Callable[[dict[str, Any]], Any]) -> Damage:
    """The header of a safetensors file: eight bytes of length, JSON, then the numbers."""

    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        length = int.from_bytes(data[:8], "little")
        whole = json.loads(data[8 : 8 + length])
        changed = change(whole)
        text = (changed if isinstance(changed, str) else json.dumps(whole)).encode()
        (folder / name).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])

    return damage


def several(*damages: Damage) -> Damage:
    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


#: Ways of changing one tensor.
SPOILT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "one row less": lambda value: value[:-1],
    "one number more": lambda value: torch.cat([value.view(-1), value.view(-1)[:1]]),
    "flat": lambda value: value.reshape(-1) if value.ndim > 1 else value[None],
    "turned": lambda value: value.T if value.ndim > 1 else value[:, None],
    "empty": lambda value: value[:0],
    "int8": lambda value: (value * 10).to(torch.int8),
    "int64": lambda value: (value * 10).to(torch.int64),
    "bool": lambda value: value > 0,
    "float8": lambda value: value.to(torch.float8_e4m3fn),
    "too large for float16": lambda value: (value + 1e5).to(torch.float16),
    "NaN": lambda value: _with(value, float("nan")),
    "infinity": lambda value: _with(value, float("inf")),
    "too large for float32": lambda value: _with(value.double(), 1e300),
    "complex": lambda value: value.to(torch.complex64),
}


def _with(value: torch.Tensor, number: float) -> torch.Tensor:
    value = value.clone()
    value.view(-1)[value.numel() // 2] = number
    return value


def spoil(name: str, tensor: str, how: str) -> Damage:
    return tensors(name, lambda held: held.update({tensor: SPOILT[how](held[tensor])}))


def drop(name: str, tensor: str) -> Damage:
    return tensors(name, lambda held: held.__delitem__(tensor))


def rename(name: str, tensor: str, to: str) -> Damage:
    return tensors(name, lambda held: held.update({to: held.pop(tensor)}))
