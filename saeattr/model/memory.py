"""How much memory a run will take, found by running it on meta tensors: every shape and dtype, no numbers, no weights.

The code that is rehearsed is the code that runs, so the prediction follows the architecture, the attention
implementation and what autograd saves, without a formula for any of them.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerBase

from saeattr.model.capture import capture
from saeattr.model.hookpoints import HookPoint
from saeattr.model.loading import DTYPES, LanguageModel, boot, load_tokenizer, read_config
from saeattr.model.prompts import Prompts
from saeattr.model.recompute import recompute
from saeattr.model.unembed import log_normaliser
from saeattr.model.weights import foreign


@dataclass(frozen=True)
class Rehearsal:
    """Bytes for one batch of pairs.

    Attributes:
        weights: the model's parameters.
        kept: what the captured runs leave behind (x, g, and what ``recompute`` needs).
        peak: the most alive at once while capturing, beside the weights; ``kept`` is part of it.
        recompute: the most alive at once while all layers run again without gradients, beside weights and ``kept``.
    """

    weights: int
    kept: int
    peak: int
    recompute: int


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors made in the block that are still alive, and their largest sum.

    Views of ``known`` tensors are not new.
    """

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, torch.Tensor):
                self._count(value.untyped_storage())
        self.peak = max(self.peak, self.now)
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)


def meta_model(folder: Path, dtype: str = "float32") -> LanguageModel:
    """The model of a folder without its weights: only config.json and the tokenizer are read.

    Raises:
        UserError: it is no causal language model that transformers and the bridge know.
    """
    return meta_of(read_config(folder), load_tokenizer(folder), folder, dtype)


def meta_of(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: str = "float32"
) -> LanguageModel:
    """The same from a configuration; ``folder`` is what it is called in an error.

    Raises:
        UserError: as ``meta_model``.
    """
    config._attn_implementation = "eager"
    with foreign(folder, f"{folder} cannot be opened as a causal language model"), torch.device("meta"):
        hf_model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype], trust_remote_code=False)
    # The bridge splits a fused projection (GPT-2's) when it opens a model, and refuses one without numbers; here the
    # parts' shapes are all that is wanted.
    with mock.patch("transformer_lens.utilities.quantization.unreadable_weight_reason", return_value=None):
        bridge = boot(folder, tokenizer, hf_model=hf_model, device="meta", dtype=DTYPES[dtype])
    return LanguageModel(folder.name, bridge, tokenizer)


def rehearse_patches(lm: LanguageModel, points: Sequence[HookPoint], batch: int, length: int, copies: int) -> Rehearsal:
    """Capture a clean and a corrupted batch without gradients, then run patched copies of them, on meta tensors.

    As localisation does: two metrics are read, one of them of the whole vocabulary, and each has its own runs.

    Args:
        lm: from ``meta_model``.
        points: where both runs are captured, the lowest first: there the copies are patched, so all layers run again.
        batch, length: prompts, and tokens in each; copies: patched ones in one forward.
    """
    prompts, parameters = _prompts(batch, length), list(lm.hf.parameters())
    with LiveBytes(parameters) as live:
        clean = capture(lm, prompts, points, _read, keep=("calls",))
        corrupted = capture(lm, prompts, points, _read)
        other = [capture(lm, prompts, [], _read, keep=("calls",)), capture(lm, prompts, [], _read)]
        kept, peak = live.now, live.peak
    with LiveBytes(parameters) as again, torch.no_grad():
        rows = torch.arange(copies, device="meta") % batch
        hidden = recompute(clean, points[0], corrupted.x[points[0]][rows], rows)
        log_normaliser(lm, hidden[:, -1])
    del other
    return Rehearsal(_weights(lm), kept, peak, again.peak)


def _prompts(batch: int, length: int) -> Prompts:
    tokens = torch.zeros(batch, length, dtype=torch.long, device="meta")
    return Prompts(tokens, torch.ones(batch, length, dtype=torch.bool, device="meta"))


def _read(hidden: torch.Tensor) -> torch.Tensor:
    """Any number of each prompt: what is read of the output of the final norm takes next to nothing."""
    return hidden[:, -1, 0].float()


def _weights(lm: LanguageModel) -> int:
    return sum(p.numel() * p.element_size() for p in lm.hf.parameters())


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
    """Measure the block's peak: the allocator's on CUDA, resident memory above ``idle`` on the CPU.

    On the CPU what was freed before counts too, unless ``give_back_free_memory`` was called.
    """
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
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


@contextmanager
def without_collecting_what_is_there() -> Iterator[None]:
    """While the block runs, garbage is looked for among what it makes itself: the libraries' objects are many."""
    # Not collected before: among the libraries' objects that alone takes a second.
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


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
