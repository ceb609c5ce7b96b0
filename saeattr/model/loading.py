"""A language model opened through transformer-lens' bridge, frozen, with what the other stages ask of it."""

from __future__ import annotations

import copy
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import (
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from saeattr import bundle
from saeattr.errors import UserError
from saeattr.model.configuration import read_config
from saeattr.model.folder import check_folder
from saeattr.model.hub import hub_name, model_snapshot, unknown_model
from saeattr.model.templates import GEMMA_CHAT
from saeattr.model.weights import CheckedWeights, foreign, no_code_from_folders
from saeattr.sites import Kind

if TYPE_CHECKING:
    from transformer_lens.hook_points import HookPoint
    from transformer_lens.model_bridge import TransformerBridge

#: The bridges that were made here and are still in use.
_OPEN: weakref.WeakSet[TransformerBridge] = weakref.WeakSet()
#: What a hook is given, as transformer-lens calls it: function(activation, hook=hook point).
Hook = Callable[..., torch.Tensor | None]

DEVICES = "auto, cpu, cuda, cuda:N, cuda*N (layers spread over N cards) or mps"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LanguageModel:
    """A frozen causal language model.

    ``bridge`` gives hook names; ``hf`` is the Hugging Face model inside it, with the bridge's hook points in its
    module tree, so that running ``hf`` fires them.
    """

    name: str
    bridge: TransformerBridge
    tokenizer: PreTrainedTokenizerBase

    @property
    def hf(self) -> PreTrainedModel:
        return self.bridge.original_model  # pyright: ignore[reportReturnType]

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The decoder layers in order."""
        return self.bridge.blocks  # pyright: ignore[reportReturnType]

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def device(self) -> torch.device:
        """Of the embedding: where tokens go in, and where SAEs and captured activations are kept."""
        return next(self.hf.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.hf.parameters()).dtype

    @cached_property
    def hook_points(self) -> dict[str, HookPoint]:
        """Where hooks can be put, by transformer-lens' names; the bridge looks all of them up for every hook."""
        return self.bridge.hook_dict

    def final_norm(self, hidden: torch.Tensor) -> torch.Tensor:
        """The output of the final norm, which lies on the last card where the layers are on several."""
        norm = self.bridge.ln_final
        return norm(hidden.to(next(norm.parameters()).device))

    @contextmanager
    def hooks(self, hooks: Iterable[tuple[str, Hook]]) -> Iterator[None]:
        """While the block runs, functions that are given what stands at a hook, and may return what is put there.

        Raises:
            KeyError: the model has no hook of a name.
        """
        level, points = self.bridge.context_level + 1, []
        try:
            self.bridge.context_level = level
            for name, function in hooks:
                points.append(self.hook_points[name])
                points[-1].add_hook(function, level=level)  # pyright: ignore[reportArgumentType]
            yield
        finally:
            self.bridge.context_level = level - 1
            for point in points:
                point.remove_hooks("fwd", level=level)

    @property
    def pad_id(self) -> int:
        """A token id to fill short rows with; its value never matters, because padding is masked."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else 0  # pyright: ignore[reportArgumentType]


def load_model(model: str = "bundled", *, device: str = "auto", dtype: str = "float32") -> LanguageModel:
    """Open a model: ``bundled``, a folder in Hugging Face's format, or a name on the hub.

    Args:
        model: ``bundled``, the path of a folder with config.json, safetensors weights and a tokenizer, a name such as
            ``gemma-2-2b-it``, or ``org/name``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``cuda*N`` or ``mps``.
        dtype: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        UserError: the folder is missing or incomplete, needs code of its own, lacks a tensor or has NaN in one, a
            bundled file is damaged, or there is no such device.
    """
    target = resolve_device(device)
    if dtype not in DTYPES:
        raise UserError(f"{dtype!r} is not a dtype: choose one of {', '.join(DTYPES)}")
    folder = find_model(model)
    bundle.verify_checksums(folder)
    tokenizer = load_tokenizer(folder)
    transformers_logging.disable_progress_bar()
    cards = spread_over(device)
    place: dict[str, Any] = {"n_devices": cards} if cards > 1 else {"device": str(target)}
    bridge = boot(folder, tokenizer, dtype=DTYPES[dtype], **place)
    return LanguageModel(model_name(model), bridge, tokenizer)


def boot(folder: Path, tokenizer: PreTrainedTokenizerBase, **options: Any) -> TransformerBridge:
    """Open a folder through the bridge, frozen, with eager attention; ``options`` go to ``boot_transformers``.

    Raises:
        UserError: it is no causal language model that the bridge knows, its weights are incomplete, or it cannot run.
    """
    # Importing the bridge costs seconds, so bad input is refused before.
    from transformer_lens.model_bridge import TransformerBridge

    # The bridge takes a relative name for a model on the hub if it knows one of that name.
    place = str(folder.absolute())
    if None in (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token):
        # The bridge puts another token where one is missing: prompts would begin with the end of a text.
        tokenizer = copy.deepcopy(tokenizer)
    with foreign(folder, f"{folder} cannot be opened as a causal language model"), no_code_from_folders():
        bridge = TransformerBridge.boot_transformers(
            place, tokenizer=tokenizer, model_class=CheckedWeights, trust_remote_code=False, **options
        )
    bridge.eval()
    for parameter in bridge.parameters():
        parameter.requires_grad_(False)
    _try_out(bridge, folder)
    _OPEN.add(bridge)
    return bridge


def _try_out(bridge: TransformerBridge, folder: Path) -> None:
    """Run one token: some of what config.json says is looked at by no one before.

    Raises:
        UserError: it cannot be run.
    """
    hf_model: Any = bridge.original_model
    device = next(hf_model.parameters()).device
    if device.type == "meta":
        return
    token = torch.zeros(1, 1, dtype=torch.long, device=device)
    with foreign(folder, f"{folder} opens, but cannot be run"), torch.no_grad():
        hf_model(input_ids=token, use_cache=False)


def open_bridge(hf_model: PreTrainedModel) -> TransformerBridge | None:
    """The bridge that a model lies in, if it was made here: in a second one, the first one's hooks fall silent."""
    return next((bridge for bridge in _OPEN if bridge.original_model is hf_model), None)


def model_name(model: str) -> str:
    """``bundled``, a name on the hub without its organisation, or the last part of the folder's path."""
    folder = Path(model).expanduser()
    return folder.resolve().name if folder.is_dir() else model.rsplit("/", 1)[-1]


def resolve_device(device: str) -> torch.device:
    """``auto`` is the first CUDA device if there is one, else the CPU; ``cuda*N`` begins at the first of N.

    Raises:
        UserError: the device does not exist here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device("cuda" if spread_over(device) > 1 else device)
    except RuntimeError as error:
        raise UserError(f"{device!r} is not a device: choose {DEVICES}") from error
    there = torch.cuda.device_count()
    if target.type == "cuda" and max((target.index or 0) + 1, spread_over(device)) > there:
        raise UserError(f"there is no device {device!r} here ({there} CUDA devices): use cpu")
    if target.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("there is no device 'mps' here: use cpu")
    if target.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"device {device!r} is not supported: choose {DEVICES}")
    return target


def spread_over(device: str) -> int:
    """How many CUDA devices ``cuda*N`` asks the model's layers to be spread over; 1 for any other device."""
    match = re.fullmatch(r"cuda\*(\d+)", device)
    return max(1, int(match[1])) if match else 1


def find_model(model: str, *, weights: bool = True) -> Path:
    """The folder of a model, checked to hold a configuration and weights; a model on the hub is downloaded.

    Args:
        model: as for ``load_model``.
        weights: False is content with configuration and tokenizer, and downloads no more.

    Raises:
        UserError: it is missing, incomplete, gated, or cannot be downloaded.
    """
    if model == "bundled":
        return bundle.MODEL_FOLDER
    folder = Path(model).expanduser()
    if not folder.is_dir():
        repo = hub_name(model)
        if repo is None:
            raise unknown_model(model)
        folder = model_snapshot(repo, weights=weights)
        check_folder(folder, weights=weights)
        return folder
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not a model folder: it has no config.json")
    if weights and not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder} has no *.safetensors weights (pickled weights are not read)")
    check_folder(folder, weights=weights)
    return folder


def site_widths(folder: Path) -> dict[Kind, int]:
    """How wide the activation is at each kind of site, from config.json alone.

    Raises:
        UserError: config.json is not the configuration of a causal language model.
    """
    config = read_config(folder)
    with foreign(folder, f"{folder}/config.json is not a language model's configuration"):
        return widths_of(config)


def widths_of(config: PreTrainedConfig) -> dict[Kind, int]:
    """How wide the activation is at each kind of site of a model with this configuration."""
    config = config.get_text_config()
    d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    d_model = int(config.hidden_size)
    return {"attn_z": int(config.num_attention_heads * d_head), "mlp_out": d_model, "resid_post": d_model}


def count_layers(folder: Path) -> int:
    """How many decoder layers the model of a folder has, from config.json alone."""
    config = read_config(folder)
    with foreign(folder, f"{folder}/config.json is not a language model's configuration"):
        return int(config.get_text_config().num_hidden_layers)


def longest_input(config: PreTrainedConfig) -> int | None:
    """How many tokens a model can read; None where its configuration does not say."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; a base Gemma's gets the chat template of its instruction-tuned sibling.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise UserError(f"{folder} has no tokenizer (tokenizer.json): save the model's tokenizer into the folder")
    with foreign(folder, f"the tokenizer in {folder} cannot be read"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        give_chat_template(tokenizer)
    return tokenizer


def give_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Set Gemma's chat template where there is none and both markers are single known tokens."""
    if tokenizer.chat_template:
        return
    ids = [tokenizer.encode(marker, add_special_tokens=False) for marker in ("<start_of_turn>", "<end_of_turn>")]
    if all(len(one) == 1 and one[0] != tokenizer.unk_token_id for one in ids):
        tokenizer.chat_template = GEMMA_CHAT
