"""Gemma-Scope-like files whose arrays lie where a test wants them, and a count of how often SAEs are read."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saeattr.saes import loading
from saeattr.saes.formats import SaeFile
from saeattr.sites import Site


def write_npz(path: Path, arrays: Mapping[str, np.ndarray], begin: int, compression: int = zipfile.ZIP_STORED) -> None:
    """An npz whose numbers begin ``begin`` bytes behind a multiple of 64, by a field of that length in the headers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            npy = io.BytesIO()
            np.lib.format.write_array(npy, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = compression
            # npy's own header is a multiple of 64 bytes long.
            lies = archive.start_dir + 30 + len(info.filename) + 4
            info.extra = struct.pack("<HH", 0xD935, fill := (begin - lies) % 64) + bytes(fill)
            archive.writestr(info, npy.getvalue())
    # Written long ago: a file that has just been written may change again at the same time.
    os.utime(path, (1_700_000_000, 1_700_000_000))


def count_reads(monkeypatch: pytest.MonkeyPatch) -> Counter[Site]:
    """How often the weights of each site's SAE were read from its file since now."""
    counted: Counter[Site] = Counter()
    read = loading.read_sae

    def counting(file: SaeFile, device: Any) -> Any:
        counted[file.site] += 1
        return read(file, device)

    monkeypatch.setattr(loading, "read_sae", counting)
    return counted
