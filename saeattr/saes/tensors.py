"""The tensors of an SAE in a file, in each of the formats they are published in; nothing is unpickled."""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from saeattr.errors import UserError
from saeattr.model.json_files import check_ordinary
from saeattr.model.weights import first_line
from saeattr.saes.carrying import carried
from saeattr.saes.npz import npz_members, read_member

Shapes = dict[str, tuple[int, ...]]

#: Types of decimal numbers, as safetensors and npy name them; an SAE of whole numbers is one of codes without a scale.
DECIMAL = {"F64", "F32", "F16", "BF16", "float64", "float32", "float16"}
#: What the readers of zip, npy and safetensors raise for a file that is damaged.
DAMAGED = (OSError, ValueError, EOFError, RuntimeError, SyntaxError, struct.error, zlib.error, zipfile.BadZipFile)
DAMAGED += (SafetensorError, lzma.LZMAError, tokenize.TokenError)

#: Llama Scope's names, of torch's linear layers, which store [out, in].
_TURNED = {"encoder.weight": "W_enc", "decoder.weight": "W_dec"}
_BIASES = {"encoder.bias": "b_enc", "decoder.bias": "b_dec"}


def read_shapes(path: Path) -> Shapes:
    """Names and shapes from the file's headers alone.

    Gemma Scope 2's ``w_enc`` is ``W_enc`` here, and Llama Scope's ``encoder.weight`` is too, turned.

    Raises:
        UserError: the file is missing, cut short, holds something else than decimal numbers, or a tensor twice.
    """
    check_ordinary(path)
    try:
        if path.suffix == ".npz":
            stored = {name: (member.shape, member.dtype) for name, member in npz_members(path).items()}
        else:
            with safe_open(path, framework="pt") as opened:
                slices = {name: opened.get_slice(name) for name in list(opened.keys())}
                stored = {name: (tuple(one.get_shape()), str(one.get_dtype())) for name, one in slices.items()}
    except DAMAGED as error:
        raise _unreadable(path, error) from error
    for name, (_, dtype) in stored.items():
        if dtype not in DECIMAL:
            raise UserError(f"{path} has {name} in {dtype}, which are no decimal numbers: get the file again")
    shapes = {_plain_name(name): shape[::-1] if name in _TURNED else shape for name, (shape, _) in stored.items()}
    if len(shapes) < len(stored):
        raise UserError(f"{path} has a tensor under two names ({', '.join(sorted(stored))}): get the file again")
    return shapes


def read_tensors(path: Path, names: Iterable[str], device: torch.device | str) -> dict[str, Tensor]:
    """The named tensors as float32 on ``device``, one at a time; on the CPU mapped from the file where that can be.

    Raises:
        UserError: the file is damaged, or a number in it is NaN or infinite.
    """
    device = torch.device(device)
    check_ordinary(path)
    try:
        if path.suffix == ".npz":
            members = npz_members(path)
            stored = {_plain_name(name): name for name in members}
            tensors = {name: read_member(path, members[stored[name]], device) for name in names}
        else:
            # On the CPU the tensors are the file, mapped.
            with safe_open(path, framework="pt") as opened:
                stored = {_plain_name(name): name for name in list(opened.keys())}
                host = ((name, opened.get_tensor(stored[name])) for name in names)
                tensors = {name: _turn(stored[name], carried(tensor, device)).float() for name, tensor in host}
    except DAMAGED as error:
        raise _unreadable(path, error) from error
    for name, tensor in tensors.items():
        # NaN is the least and the greatest of what holds it; this makes no tensor as large as the weights.
        if tensor.numel() and not all(math.isfinite(float(end)) for end in tensor.aminmax()):
            raise UserError(f"{path} has NaN or infinity in {stored[name]}: get the file again, or use another SAE")
    return tensors


def all_ones(path: Path, name: str) -> bool:
    """Whether a tensor holds nothing but 1."""
    return bool((read_tensors(path, [name], "cpu")[name] == 1).all())


def _plain_name(name: str) -> str:
    return _TURNED.get(name) or _BIASES.get(name) or ("W_" + name[2:] if name.startswith("w_") else name)


def _turn(stored: str, tensor: Tensor) -> Tensor:
    return tensor.T.contiguous() if stored in _TURNED else tensor


def _unreadable(path: Path, error: Exception) -> UserError:
    kind = "npz" if path.suffix == ".npz" else "safetensors"
    return UserError(f"{path} cannot be read as {kind} ({first_line(error)}): get the file again")
