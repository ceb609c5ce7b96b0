"""The memory a block of work really took, to put beside what was predicted."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass
class Peak:
    """``n_bytes`` is set when the block ends; None where the system does not tell."""

    n_bytes: int | None = None


def resident_bytes() -> int | None:
    """Resident memory of this process now (Linux), or None."""
    return _status("VmRSS")


@contextmanager
def measure_peak(device: torch.device, idle: int | None) -> Iterator[Peak]:
    """Measure the block's peak: the allocator's on CUDA, resident memory above ``idle`` on the CPU."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        give_back_free_memory()
        _reset_high_water()
    yield peak
    if device.type == "cuda":
        peak.n_bytes = torch.cuda.max_memory_allocated(device)
    else:
        highest = _status("VmHWM")
        peak.n_bytes = None if highest is None or idle is None else max(0, highest - idle)


def give_back_free_memory() -> None:
    """Return what the allocators keep of earlier work to the system, so that it does not count for what follows."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _reset_high_water() -> None:
    """Let the kernel's record of the highest resident memory start anew; without the right to, it covers more."""
    if sys.platform == "linux":
        try:
            _CLEAR.write_text("5", encoding="ascii")
        except OSError:
            return


def _status(field: str) -> int | None:
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith(field + ":")]
    return int(values[0]) * 1024 if values else None
