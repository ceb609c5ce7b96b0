"""The tensors of an SAE in a file, in each of the formats they are published in; nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from saeattr.errors import UserError

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
            shapes = _npz_shapes(path)
        else:
            with safe_open(path, framework="pt") as opened:
                shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in list(opened.keys())}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as {_kind(path)} ({error}): get the file again") from error
    return {_plain_name(name): shape[::-1] if name in _TURNED else shape for name, shape in shapes.items()}


def read_tensors(path: Path, names: Iterable[str], device: torch.device | str) -> dict[str, Tensor]:
    """The named tensors as float32 on ``device``, read one at a time.

    Raises:
        UserError: the file is damaged, or a number in it is NaN or infinite.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                stored = {_plain_name(name): name for name in arrays.files}
                tensors = {name: torch.from_numpy(arrays[stored[name]]).float().to(device) for name in names}
        else:
            with safe_open(path, framework="pt", device=str(device)) as opened:
                stored = {_plain_name(name): name for name in list(opened.keys())}
                tensors = {name: _turn(stored[name], opened.get_tensor(stored[name])).float() for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as {_kind(path)} ({error}): get the file again") from error
    for name, tensor in tensors.items():
        # NaN is the least and the greatest of what holds it; this makes no tensor as large as the weights.
        if tensor.numel() and not all(math.isfinite(float(end)) for end in tensor.aminmax()):
            raise UserError(f"{path} has NaN or infinity in {stored[name]}: get the file again, or use another SAE")
    return tensors


def _npz_shapes(path: Path) -> Shapes:
    shapes: Shapes = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            if dtype.hasobject:
                raise ValueError(f"{member} holds pickled objects")
            shapes[member.removesuffix(".npy")] = tuple(shape)
    return shapes


def _plain_name(name: str) -> str:
    return _TURNED.get(name) or _BIASES.get(name) or ("W_" + name[2:] if name.startswith("w_") else name)


def _turn(stored: str, tensor: Tensor) -> Tensor:
    return tensor.T.contiguous() if stored in _TURNED else tensor


def _kind(path: Path) -> str:
    return "npz" if path.suffix == ".npz" else "safetensors"
