"""A model passed from Python in place of a name: a Hugging Face model with its tokenizer, or a TransformerBridge.

It is used where it is, not copied: afterwards it is frozen, in evaluation mode, with eager attention, and has the
bridge's hook points in its module tree, as ``TransformerBridge`` leaves it.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saeattr.errors import UserError
from saeattr.model.loading import DTYPES, LanguageModel, boot, give_chat_template, open_bridge
from saeattr.model.weights import all_finite, tensors_sha256

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

#: The bridge of a model that was passed before lies here on it, and lives as long.
_BRIDGE = "_saeattr_bridge"
#: In the names of what a model consists of once a bridge is around it.
_WRAPPED = "_original_component"


@dataclass(frozen=True, eq=False)
class PassedModel:
    """A model that is open already, and the SHA-256 of its weights and vocabulary."""

    lm: LanguageModel
    sha256: str

    @property
    def dtype(self) -> str:
        """As the settings name it."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.lm.dtype)


def passed_model(model: Any, tokenizer: Any = None) -> PassedModel:
    """Take over a Hugging Face model with its tokenizer, a pair of both, or a bridge.

    Raises:
        UserError: it is none of these, lies in a bridge that was not passed, has no tokenizer, a dtype that is not used
            here, or NaN or infinity in it.
    """
    if isinstance(model, tuple) and len(model) == 2 and tokenizer is None:
        model, tokenizer = model
    bridge: Any = model if _is_bridge(model) else None
    hf_model: Any = bridge.original_model if bridge is not None else model
    tokenizer = tokenizer if tokenizer is not None else getattr(bridge, "tokenizer", None)
    if not isinstance(hf_model, PreTrainedModel):
        raise UserError(
            f"model is a {type(model).__name__}: give a name or a folder, a Hugging Face model with tokenizer=, or a "
            "TransformerBridge"
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise UserError("a model passed from Python needs its tokenizer: pass model=model, tokenizer=tokenizer")
    if bridge is None:
        bridge = hf_model.__dict__.get(_BRIDGE) or open_bridge(hf_model)
    if bridge is not None and bridge.compatibility_mode:
        raise UserError(
            "the TransformerBridge is in compatibility mode, which folds its norms, and SAEs were made without: pass "
            "one that is not"
        )
    if bridge is None and any(_WRAPPED in name for name, _ in hf_model.named_modules()):
        raise UserError("the model passed is inside a TransformerBridge already: pass the bridge itself")
    _check_weights(hf_model)
    hf_model.set_attn_implementation("eager")
    # A model made from a configuration does not name its class in it, and the bridge goes by that.
    hf_model.config.architectures = hf_model.config.architectures or [type(hf_model).__name__]
    tokenizer = copy.deepcopy(tokenizer)
    give_chat_template(tokenizer)
    name = _name(hf_model)
    bridge = bridge if bridge is not None else _bridge(name, hf_model, tokenizer)
    bridge.eval()
    bridge.requires_grad_(False)
    return PassedModel(LanguageModel(name, bridge, tokenizer), _sha256(hf_model, tokenizer))


def _is_bridge(model: Any) -> bool:
    """Without importing transformer_lens, which takes seconds, where nobody has."""
    return any(cls.__name__ == "TransformerBridge" for cls in type(model).__mro__)


def _bridge(name: str, hf_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> TransformerBridge:
    place = next(hf_model.parameters()).device
    bridge = boot(Path(name), tokenizer, hf_model=hf_model, device=str(place), dtype=hf_model.dtype)
    # Not setattr, which would make the bridge a part of the model.
    hf_model.__dict__[_BRIDGE] = bridge
    return bridge


def _check_weights(hf_model: PreTrainedModel) -> None:
    dtype = next(hf_model.parameters()).dtype
    if dtype not in DTYPES.values():
        raise UserError(f"the model passed is in {dtype}: turn it into one of {', '.join(DTYPES)}")
    for name, parameter in hf_model.named_parameters():
        if not all_finite(parameter):
            raise UserError(f"the model passed has NaN or infinity in {name}: pass another")


def _name(hf_model: PreTrainedModel) -> str:
    """As the hub knows it where it came from there, so that SAEs can be found for it."""
    name = str(getattr(hf_model.config, "_name_or_path", "") or type(hf_model).__name__)
    return Path(name).name if Path(name).is_absolute() or name.count("/") > 1 else name


def _sha256(hf_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Over the weights under the names that the model's class gives them, which the bridge's parts stand between."""
    with torch.device("meta"):
        names = type(hf_model)(copy.deepcopy(hf_model.config)).state_dict().keys()
    held = {name.replace("_original_component.", ""): value for name, value in hf_model.state_dict().items()}
    vocabulary = json.dumps([sorted(tokenizer.get_vocab().items()), tokenizer.chat_template], sort_keys=True)
    return tensors_sha256(
        {name: held[name] for name in names if name in held}, hashlib.sha256(vocabulary.encode()).hexdigest()
    )
