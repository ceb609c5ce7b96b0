"""The tensors of an SAE in a file, in each of the formats they are published in; nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from saeattr.errors import UserError
from saeattr.saes.carrying import carried
from saeattr.saes.npz import npz_members, read_member

Shapes = dict[str, tuple[int, ...]]

#: Llama Scope's names, of torch's linear layers, which store [out, in].
_TURNED = {"encoder.weight": "W_enc", "decoder.weight": "W_dec"}
_BIASES = {"encoder.bias": "b_enc", "decoder.bias": "b_dec"}


def read_shapes(path: Path) -> Shapes:
    """Names and shapes from the file's headers alone.

    Gemma Scope 2's ``w_enc`` is ``W_enc`` here, and Llama Scope's ``encoder.weight`` is too, turned.

    Raises:
        UserError: the file is missing, cut short, or holds something else than arrays.
    """
    try:
        if path.suffix == ".npz":
            shapes = {name: member.shape for name, member in npz_members(path).items()}
        else:
            with safe_open(path, framework="pt") as opened:
                shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in list(opened.keys())}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as {_kind(path)} ({error}): get the file again") from error
    return {_plain_name(name): shape[::-1] if name in _TURNED else shape for name, shape in shapes.items()}


def read_tensors(path: Path, names: Iterable[str], device: torch.device | str) -> dict[str, Tensor]:
    """The named tensors as float32 on ``device``, one at a time; on the CPU mapped from the file where that can be.

    Raises:
        UserError: the file is damaged, or a number in it is NaN or infinite.
    """
    device = torch.device(device)
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
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as {_kind(path)} ({error}): get the file again") from error
    for name, tensor in tensors.items():
        # NaN is the least and the greatest of what holds it; this makes no tensor as large as the weights.
        if tensor.numel() and not all(math.isfinite(float(end)) for end in tensor.aminmax()):
            raise UserError(f"{path} has NaN or infinity in {stored[name]}: get the file again, or use another SAE")
    return tensors


def _plain_name(name: str) -> str:
    return _TURNED.get(name) or _BIASES.get(name) or ("W_" + name[2:] if name.startswith("w_") else name)


def _turn(stored: str, tensor: Tensor) -> Tensor:
    return tensor.T.contiguous() if stored in _TURNED else tensor


def _kind(path: Path) -> str:
    return "npz" if path.suffix == ".npz" else "safetensors"
