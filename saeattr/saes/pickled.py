"""Weights that were pickled by torch (ae.pt, layer0.sae.pt): looked at before anything reads them.

A pickle names what it calls, so a file is refused that names anything but the parts of tensors in dictionaries. What is
left is read by ``torch.load`` with ``weights_only``, which is torch's default, keeps to such a list itself, and has
known holes before torch 2.10 (CVE-2025-32434, CVE-2026-24747).
"""

from __future__ import annotations

import os
import pickletools
import struct
import zipfile
from pathlib import Path

import torch

from saeattr.errors import UserError
from saeattr.model.json_files import check_ordinary
from saeattr.model.weights import first_line

SUFFIXES = (".pt", ".pth")
_TYPES = ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
#: All that a dictionary of tensors names.
ALLOWED = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {name}Storage" for name in _TYPES),
    # Values that may stand beside the tensors.
    "torch Size",
    "torch device",
    *(f"torch {name}" for name in ("float32", "float16", "bfloat16", "float64", "int64")),
}
#: The codes by which a pickle names what it calls; the other ways (a name from the stack, a number from a registry) are
#: not used by torch, and refused.
_NAMING, _OTHER_NAMING = ("GLOBAL", "INST"), ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4")
SAFE_TORCH = (2, 10)
#: Bytes of codes that a file may have; one of an SAE has a thousand.
LARGEST = 2**20


def check_pickled(path: Path) -> None:
    """Read the codes of a pickled file without running them, and refuse what is more than tensors.

    Raises:
        UserError: it is damaged, of torch before 1.6, or names something else; or this torch is older than
            ``SAFE_TORCH``, or told by its environment to trust every pickle.
    """
    version = tuple(map(int, torch.__version__.split("+")[0].split(".")[:2]))
    if version < SAFE_TORCH:
        raise UserError(
            f"{path} is pickled, which torch reads safely from version 2.10 on and this is {torch.__version__}: "
            "pip install -U torch"
        )
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0").lower() not in ("", "0", "n", "no", "false"):
        raise UserError(f"{path} is pickled, and TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD lets pickles run code: unset it")
    check_ordinary(path)
    try:
        with zipfile.ZipFile(path) as archive:
            named = [_named(_code(archive, info)) for info in archive.infolist() if info.filename.endswith(".pkl")]
            _check_stored(archive)
    except (OSError, ValueError, EOFError, LookupError, RuntimeError, struct.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as a torch file ({first_line(error)}): get the file again") from error
    other = sorted(set().union(*named) - ALLOWED)
    if len(named) != 1 or other:
        what = f"it names {other[0]}" if other else f"it holds {len(named)} pickles"
        raise UserError(f"{path} is no plain dictionary of tensors ({what}), and no other pickle is read: use another")


def _code(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > LARGEST:
        raise ValueError(f"its pickle has {info.file_size:,} bytes, and {LARGEST:,} are read at most")
    return archive.read(info)


def _check_stored(archive: zipfile.ZipFile) -> None:
    """torch compresses nothing: what a compressed part would become is not bounded by the file's size."""
    for info in archive.infolist():
        if info.file_size != info.compress_size:
            raise ValueError(f"{info.filename} is compressed")


def _named(code: bytes) -> set[str]:
    """What a pickle would import."""
    names: set[str] = set()
    for operation, value, _ in pickletools.genops(code):
        if operation.name in _NAMING:
            names.add(str(value))
        elif operation.name in _OTHER_NAMING:
            names.add(operation.name)
    return names
