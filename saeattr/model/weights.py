"""What a model's folder is not trusted with: none of its code is run, and every tensor is looked at when it is read."""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor, PreTrainedConfig, PreTrainedModel

from saeattr.errors import UserError, is_out_of_memory
from saeattr.model.folder import weight_files

#: The types in which a number can be NaN; codes of quantized weights are of others.
CHECKED = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

#: Types of decimal numbers, by safetensors' names.
DECIMAL = {"F64", "F32", "F16", "BF16"}
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")

#: What sae-lens and safetensors raise for files that they cannot make an SAE of.
FAULTS = (OSError, ValueError, RuntimeError, LookupError, AttributeError, TypeError, ImportError, SafetensorError)
FAULTS += (ArithmeticError, AssertionError, EOFError)


class CheckedWeights:
    """Stands where the bridge expects a class of transformers: it chooses the options, the weights are checked here."""

    @staticmethod
    def from_pretrained(folder: str, **options: Any) -> PreTrainedModel:
        """The model of a folder, with every tensor from its safetensors files.

        Raises:
            UserError: a tensor is missing, has another shape than config.json says, or holds NaN or infinity.
        """
        options |= {"trust_remote_code": False, "use_safetensors": True, "local_files_only": True}
        check_headers(
            Path(folder), options.get("config") or AutoConfig.from_pretrained(folder, trust_remote_code=False)
        )
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
        for name in sorted(found["unexpected_keys"]):
            if _has_no_place(model, name):
                raise UserError(
                    f"{folder} has {name} in its safetensors files, which a model as its config.json says has not: get "
                    "both again"
                )
        for name, parameter in model.named_parameters():
            if not all_finite(parameter):
                raise UserError(
                    f"{folder} has NaN or infinity in {name}, read as {str(parameter.dtype).removeprefix('torch.')}: "
                    "get the file again, or choose another dtype"
                )
        return model


def check_headers(folder: Path, config: PreTrainedConfig) -> None:
    """Compare the headers of the weights with the index and with config.json; nothing is allocated.

    Names that transformers changes while it reads are left to its own report.

    Raises:
        UserError: a file is damaged, lacks a tensor, holds another file's, or one of another shape or of codes.
    """
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    wanted = model.state_dict()
    # Files of the model without its head have no name for the rest before the names (GPT-2's on the hub).
    wanted |= {name.removeprefix(f"{model.base_model_prefix}."): value for name, value in wanted.items()}
    quantized = getattr(config, "quantization_config", None) is not None
    seen: dict[str, str] = {}
    for file, named in weight_files(folder).items():
        stored = _header(folder / file)
        for name in sorted((named or set()) - stored.keys()):
            raise UserError(f"{folder / file} has no {name}, which the index says is there: get both files again")
        for name, (shape, dtype) in stored.items():
            if name in seen:
                raise UserError(f"{folder} has {name} twice, in {seen[name]} and in {file}: get the files again")
            seen[name] = file
            if name not in wanted:
                continue
            if shape != tuple(wanted[name].shape):
                raise UserError(
                    f"{folder} has {name} of shape {shape} where config.json says {tuple(wanted[name].shape)}: get the "
                    "files again, or those of one model"
                )
            if dtype not in DECIMAL and not quantized:
                raise UserError(f"{folder} has {name} in {dtype}, codes without their scales: get the file again")


def _header(file: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and types of the tensors in a file."""
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in list(opened.keys())}
            return {name: (tuple(one.get_shape()), str(one.get_dtype())) for name, one in slices.items()}
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{file} cannot be read as safetensors ({first_line(error)}): get the file again") from error


def _has_no_place(model: PreTrainedModel, name: str) -> bool:
    """Whether a tensor that was not read belongs to a part that the model has, in this layer or in another.

    A bias that config.json leaves out, a layer more than it counts, the scales of codes; not buffers that older
    versions stored, nor parts of another purpose.
    """
    part = _NUMBER.sub("*", name.rpartition(".")[0])
    parts = {_NUMBER.sub("*", other.rpartition(".")[0]) for other, _ in model.named_parameters()}
    return bool(part) and any(own == part or own.endswith(f".{part}") for own in parts)


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


@contextmanager
def foreign(folder: Path, what: str) -> Iterator[None]:
    """Whatever the readers of others raise for a damaged folder, in one line; too little memory is another matter.

    Raises:
        UserError: anything was raised.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise unusable(folder, what, error) from error
    except BaseException as error:
        # What tokenizers, written in Rust, raises where it gives up is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise UserError(f"{what}: {first_line(error)}") from error


def unusable(folder: Path, what: str, error: Exception) -> UserError:
    """Why a folder cannot be opened, in one line; transformers' advice to let its code run is not passed on."""
    if "trust_remote_code" in str(error):
        return UserError(
            f"{folder} needs code of its own (its auto_map names it), and code in a model's folder is never run: use a "
            "model that transformers knows"
        )
    return UserError(f"{what}: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """What an exception says in its first line (and in the next, where that ends in a colon), or else its type."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    said = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return said[:500] or type(error).__name__
