"""What a model's folder is not trusted with: none of its code is run, and every tensor is looked at when it is read."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoProcessor, PreTrainedModel

from saeattr.errors import UserError

#: The types in which a number can be NaN; codes of quantized weights are of others.
CHECKED = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

#: What transformers, safetensors and the bridge raise for a folder that they cannot make a model of.
FAULTS = (OSError, ValueError, RuntimeError, LookupError, AttributeError, TypeError, ImportError, SafetensorError)


class CheckedWeights:
    """Stands where the bridge expects a class of transformers: it chooses the options, the weights are checked here."""

    @staticmethod
    def from_pretrained(folder: str, **options: Any) -> PreTrainedModel:
        """The model of a folder, with every tensor from its safetensors files.

        Raises:
            UserError: a tensor is missing, has another shape than config.json says, or holds NaN or infinity.
        """
        options |= {"trust_remote_code": False, "use_safetensors": True, "local_files_only": True}
        # A tensor of another shape would be an exception without its name; it is refused below.
        with _quiet("transformers.modeling_utils"):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
        model, found = loaded
        for name, stored, wanted in sorted(found["mismatched_keys"]):
            raise UserError(
                f"{folder} has {name} of shape {tuple(stored)} where config.json says {tuple(wanted)}: get the files "
                "again, or those of one model"
            )
        for name in sorted(missing := found["missing_keys"]):
            raise UserError(f"{folder} has no {name} in its safetensors files ({len(missing)} missing): get them again")
        for name, parameter in model.named_parameters():
            if not all_finite(parameter):
                raise UserError(
                    f"{folder} has NaN or infinity in {name}, read as {str(parameter.dtype).removeprefix('torch.')}: "
                    "get the file again, or choose another dtype"
                )
        return model


def all_finite(parameter: torch.Tensor) -> bool:
    """Whether a tensor has neither NaN nor infinity: one pass, no copy; codes of quantized weights always pass."""
    if parameter.is_meta or parameter.numel() == 0 or parameter.dtype not in CHECKED:
        return True
    least, most = parameter.detach().aminmax()
    return math.isfinite(float(least)) and math.isfinite(float(most))


def tensors_sha256(tensors: Mapping[str, torch.Tensor], about: str = "") -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names; ``about`` counts too."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # Copied one at a time: bfloat16 has no type in numpy, its bytes have.
        whole = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(whole.view(torch.uint8).numpy().data if whole.numel() else b"")
    return digest.hexdigest()


@contextmanager
def no_code_from_folders() -> Iterator[None]:
    """Nothing of a model's folder is imported, whatever its config.json names, and nothing is installed."""
    # Some of the bridge's adapters, which config.json picks by a name, import a file of the folder without asking.
    refused = ValueError("trust_remote_code is never given")
    # For a model that sees images the bridge opens its image processor, and where that fails runs pip to install
    # torchvision, which replaces torch. Text needs no processor.
    with (
        mock.patch("transformers.dynamic_module_utils.get_cached_module_file", side_effect=refused),
        mock.patch.object(AutoProcessor, "from_pretrained", return_value=None),
    ):
        yield


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """A logger without its warnings: what they tell of missing tensors is said in one line here."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def unusable(folder: Path, what: str, error: Exception) -> UserError:
    """Why a folder cannot be opened, in one line; transformers' advice to let its code run is not passed on."""
    if "trust_remote_code" in str(error):
        return UserError(
            f"{folder} needs code of its own (its auto_map names it), and code in a model's folder is never run: use a "
            "model that transformers knows"
        )
    return UserError(f"{what}: {first_line(error)}")


def first_line(error: Exception) -> str:
    """What an exception says in its first line, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
