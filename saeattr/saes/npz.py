"""Arrays of an npz, used where they lie in the file where that is possible; nothing is unpickled.

An npz is a zip archive. ``np.savez`` stores its members uncompressed, so that the numbers of an array lie in the file
as they would in memory: behind the zip's header of the member and npy's own, in C order. Such float32 arrays are
mapped: the system reads a page when it is first touched, and may drop it again.

``np.savez`` does not align its members. Arithmetic on numbers at an odd address is not defined, so an array at an
offset that is no multiple of four bytes is read into memory instead, once, without numpy's detour through zipfile.

A zip archive keeps a CRC-32 of each member. It is compared when an array is first opened, and again when the file has
changed; a file that is damaged without a new time of change is noticed by the next process.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import time
import zipfile
import zlib
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from saeattr.digests import SETTLED_AFTER
from saeattr.saes.carrying import blocks_of, carried, is_sent

#: Bytes of a zip's header before the member's name: the lengths of the name and of the extra field are the last four.
_LOCAL_HEADER = 30
#: Read at a time, so that the checksum finds the bytes in the processor's cache.
_STEP = 256 * 2**10
#: Times that weights may be larger than what they are compressed to (usual ones are 1.1 times), and bytes up to which
#: an array may be larger still, such as a bias of zeros.
MOST_INFLATED, _SMALL = 50, 2**24
#: Members that were whole: the file, its size, time of change and inode, and where in it they begin.
_whole: set[tuple[Any, ...]] = set()


@dataclass(frozen=True)
class Member:
    """One array of an npz.

    Attributes:
        name: as the array was saved; dtype: of its numbers, as numpy calls it.
        plain: whether its numbers lie in the file as they would in memory: float32, C order, uncompressed.
        begin, offset: where the member and where its numbers begin, in bytes from the file's beginning.
        crc: CRC-32 of the member, npy's header included.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    plain: bool
    begin: int
    offset: int
    crc: int

    @property
    def end(self) -> int:
        """Behind the last of its numbers, where it is plain."""
        return self.offset + 4 * math.prod(self.shape)


def npz_members(path: Path) -> dict[str, Member]:
    """The arrays of an npz by name, from the headers alone.

    Raises:
        ValueError, EOFError, zipfile.BadZipFile, OSError: it is damaged, or holds pickled objects.
    """
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = [_member(file, archive, info) for info in archive.infolist()]
    named = {member.name: member for member in members}
    if len(named) < len(members):
        raise ValueError("an array is in it twice")
    return named


def read_member(path: Path, member: Member, device: torch.device) -> Tensor:
    """An array as float32 on ``device``: on the CPU mapped where it can be, to a GPU through pinned memory.

    Raises:
        ValueError, EOFError, zipfile.BadZipFile, OSError: it is damaged.
    """
    if not member.plain:
        with np.load(path, allow_pickle=False) as arrays:
            return carried(torch.from_numpy(arrays[member.name].astype(np.float32, copy=False)), device)
    with path.open("rb", buffering=0) as file:
        if is_sent(device):
            return _filled(file, member, device)
        tensor = _filled(file, member, torch.device("cpu")) if member.offset % 4 else _mapped(file, member)
    return tensor.to(device)


def _member(file: BinaryIO, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    with archive.open(info) as opened:
        version = np.lib.format.read_magic(opened)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_column, dtype = read(opened)
        header = opened.tell()
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds pickled objects")
    # What is inflated is bounded before it is: by the shape, which the caller compares, and by the file's own size.
    if info.file_size != header + dtype.itemsize * math.prod(shape) or min(shape, default=1) < 0:
        raise ValueError(f"{info.filename} has {info.file_size:,} bytes, and its shape is {shape}")
    if info.file_size > max(_SMALL, MOST_INFLATED * info.compress_size):
        raise ValueError(
            f"{info.filename} has {info.compress_size:,} bytes, and {info.file_size:,} when it is inflated"
        )
    file.seek(info.header_offset + _LOCAL_HEADER - 4)
    begin = info.header_offset + _LOCAL_HEADER + sum(struct.unpack("<HH", file.read(4)))
    n_bytes = 4 * math.prod(shape)
    plain = (
        info.compress_type == zipfile.ZIP_STORED
        and info.file_size == info.compress_size == header + n_bytes
        and dtype == np.float32
        and not by_column
        and n_bytes > 0
    )
    name = info.filename.removesuffix(".npy")
    return Member(name, tuple(shape), dtype.newbyteorder("=").name, plain, begin, begin + header, info.CRC)


def _mapped(file: BinaryIO, member: Member) -> Tensor:
    """The array where it lies; what is written into it stays in memory and never reaches the file."""
    first = member.begin - member.begin % mmap.ALLOCATIONGRANULARITY
    lies = mmap.mmap(file.fileno(), member.end - first, access=mmap.ACCESS_COPY, offset=first)
    if hasattr(mmap, "MADV_WILLNEED"):
        lies.madvise(mmap.MADV_WILLNEED)
    if _unknown(file, member):
        _compare(zlib.crc32(memoryview(lies)[member.begin - first :]), file, member)
    count = math.prod(member.shape)
    return torch.frombuffer(lies, dtype=torch.float32, count=count, offset=member.offset - first).view(member.shape)


def _filled(file: FileIO, member: Member, device: torch.device) -> Tensor:
    """The array in memory of its own."""
    tensor = torch.empty(member.shape, device=device)
    unknown = _unknown(file, member)
    file.seek(member.begin)
    crc = zlib.crc32(file.read(member.offset - member.begin))
    for block in blocks_of(tensor):
        for lo in range(0, len(block), _STEP):
            part = memoryview(block[lo : lo + _STEP].numpy())  # pyright: ignore[reportArgumentType]
            if file.readinto(part) != len(part):
                raise EOFError(f"{member.name} ends early")
            crc = zlib.crc32(part, crc) if unknown else crc
    if unknown:
        _compare(crc, file, member)
    return tensor


def _unknown(file: BinaryIO, member: Member) -> bool:
    return _mark(file, member) not in _whole


def _compare(crc: int, file: BinaryIO, member: Member) -> None:
    """Compare a checksum, and remember that it was right; a file just written may change again at the same time."""
    if crc != member.crc:
        raise zipfile.BadZipFile(f"bad CRC-32 of {member.name}")
    if os.fstat(file.fileno()).st_mtime_ns < time.time_ns() - SETTLED_AFTER:
        _whole.add(_mark(file, member))


def _mark(file: BinaryIO, member: Member) -> tuple[Any, ...]:
    state = os.fstat(file.fileno())
    return os.path.realpath(file.name), state.st_size, state.st_mtime_ns, state.st_ino, member.begin, member.crc
