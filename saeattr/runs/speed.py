"""A short measurement of this machine: MLPs, encoding, small operations, reading a file, copying to a card.

A few seconds on the device that a study would use, at the shapes that it would compute with. What follows from it for a
study is arithmetic (``saeattr.study.workload``).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from saeattr.errors import UserError

#: A measurement repeats its work for so long, in seconds, at least once after a first that does not count.
AT_LEAST = 0.3
#: Matrices that are multiplied in turn take at most so much together: enough to leave a cache as a model's do.
MATRIX_BYTES = 2**28
#: The temporary file that is read, and how much of it at a time.
FILE_BYTES, BLOCK_BYTES = 2**28, 2**24
#: Small operations that are timed together.
OPERATIONS = 1000


@dataclass(frozen=True)
class Shapes:
    """What is multiplied with what.

    Attributes:
        n_layers, d_model, d_mlp: of the model.
        tokens: of a batch of prompts; copied: of a batch of edited copies; rows: lists that are written together, a
            token of each at a time.
        encoded: tokens that an SAE encodes at once; d_in, d_sae: its widths.
    """

    n_layers: int
    d_model: int
    d_mlp: int
    tokens: int
    copied: int
    rows: int
    encoded: int
    d_in: int
    d_sae: int


@dataclass(frozen=True)
class Speed:
    """What the machine does in a second.

    Attributes:
        device: where it was measured; dtype: of the model there.
        prompts, copies, writing: FLOPs of an MLP in the model's dtype, for ``Shapes.tokens``, ``copied`` and ``rows``.
        encoding: FLOPs of encoding in float32, its passes over the activations included.
        reading: bytes of a file; from_cache: whether the system may have had it in memory.
        copying: bytes from the host to the card; None where the device is the host.
        operations: small operations on the device, each sent from Python.
    """

    device: str
    dtype: str
    prompts: float
    copies: float
    writing: float
    encoding: float
    reading: float
    from_cache: bool
    copying: float | None
    operations: float


@torch.no_grad()
def measure_speed(device: torch.device, dtype: torch.dtype, shapes: Shapes, folder: Path | None = None) -> Speed:
    """Measure on ``device``, with random numbers.

    Args:
        folder: where a temporary file is written and read, such as the hub's cache; the system's folder for such files
            where it is None or cannot be written to.

    Raises:
        UserError: there is no room for the file.
    """
    sizes = (shapes.n_layers, shapes.d_model, shapes.d_mlp)
    rates = {rows: mlp_rate(device, dtype, rows, *sizes) for rows in (shapes.tokens, shapes.copied, shapes.rows)}
    reading, from_cache = reading_rate(folder)
    return Speed(
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        prompts=rates[shapes.tokens],
        copies=rates[shapes.copied],
        writing=rates[shapes.rows],
        encoding=encoding_rate(device, shapes),
        reading=reading,
        from_cache=from_cache,
        copying=copying_rate(device) if device.type == "cuda" else None,
        operations=OPERATIONS / _seconds(device, _small_operations(device)),
    )


def mlp_rate(device: torch.device, dtype: torch.dtype, rows: int, n: int, d_model: int, d_mlp: int) -> float:
    """FLOP/s of ``rows`` tokens in each of ``n`` gated MLPs in turn, or of as many as ``MATRIX_BYTES`` hold.

    Their norm and activation take time that is not counted as FLOPs, as in a layer.
    """
    n = max(1, min(n, MATRIX_BYTES // (3 * d_model * d_mlp * dtype.itemsize)))
    x = torch.randn(rows, d_model, device=device).to(dtype)
    weights = [torch.randn(3, d_mlp, d_model, device=device).to(dtype) for _ in range(n)]

    def run() -> None:
        for gate, up, down in weights:
            normed = x * torch.rsqrt(x.float().square().mean(-1, keepdim=True)).to(dtype)
            wide = torch.nn.functional.gelu(normed @ gate.mT, approximate="tanh") * (normed @ up.mT)
            _ = x + wide @ down

    return 6 * rows * d_model * d_mlp * n / _seconds(device, run)


def encoding_rate(device: torch.device, shapes: Shapes) -> float:
    """FLOP/s of the product in encoding tokens by an SAE, with finding out which features are active."""
    x = torch.randn(shapes.encoded, shapes.d_in, device=device)
    W_enc = torch.randn(shapes.d_in, shapes.d_sae, device=device)
    # A standard deviation of the sums is sqrt(d_in): one feature in a thousand or so is active.
    threshold = torch.full((shapes.d_sae,), 3 * shapes.d_in**0.5, device=device)

    def encode() -> None:
        f = x @ W_enc
        f.masked_fill_(f <= threshold, 0.0)
        (f > 0).nonzero()

    return 2 * shapes.encoded * shapes.d_in * shapes.d_sae / _seconds(device, encode)


def reading_rate(folder: Path | None = None) -> tuple[float, bool]:
    """Bytes a second of reading a temporary file once, and whether the system may have kept it in memory.

    Raises:
        UserError: there is no room for it.
    """
    chosen = folder if folder is not None and os.access(folder, os.W_OK) else None
    try:
        with tempfile.NamedTemporaryFile(dir=chosen, prefix="saeattr-speed-") as file:
            block = os.urandom(BLOCK_BYTES)
            for _ in range(FILE_BYTES // BLOCK_BYTES):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            from_cache = not hasattr(os, "posix_fadvise")
            if not from_cache:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            room = bytearray(BLOCK_BYTES)
            began = time.perf_counter()
            with open(file.name, "rb", buffering=0) as opened:
                while opened.readinto(room):
                    pass
            return FILE_BYTES / (time.perf_counter() - began), from_cache
    except OSError as error:
        where = chosen or tempfile.gettempdir()
        raise UserError(
            f"the speed of reading cannot be measured: {FILE_BYTES >> 20} MiB do not fit into {where} ({error}); free "
            "some space, or plan without --measure"
        ) from error


def copying_rate(device: torch.device) -> float:
    """Bytes a second from pinned memory of the host to the card."""
    host = torch.empty(FILE_BYTES, dtype=torch.uint8, pin_memory=True)
    card = torch.empty(FILE_BYTES, dtype=torch.uint8, device=device)
    return FILE_BYTES / _seconds(device, lambda: card.copy_(host, non_blocking=True))


def _small_operations(device: torch.device) -> Callable[[], None]:
    number = torch.zeros(1, device=device)

    def work() -> None:
        for _ in range(OPERATIONS):
            number.add_(1.0)

    return work


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Of one run of ``work``, the mean of as many as ``AT_LEAST`` has room for; a first one warms caches up."""
    work()
    _wait(device)
    began, n = time.perf_counter(), 0
    while n == 0 or time.perf_counter() - began < AT_LEAST:
        work()
        # Each is waited for: a card that lags behind would otherwise be given work without end.
        _wait(device)
        n += 1
    return (time.perf_counter() - began) / n


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
