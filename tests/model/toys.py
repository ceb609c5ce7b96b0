"""Tiny random models of several families, opened as any model folder is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedModel,
)

from saeattr import bundle
from saeattr.model.loading import LanguageModel, load_model, load_tokenizer

FAMILIES = ("gemma2", "gemma3", "llama", "gpt2")
#: Shorter than the prompts of the tests.
WINDOW = 6

_EAGER: dict[str, Any] = {"attn_implementation": "eager"}
_SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    **_EAGER,
}


def toy_config(family: str) -> Any:
    """Three layers of width 32; Gemma's first and third look at ``WINDOW`` positions only, not in Gemma 1."""
    if family == "gemma1":
        return GemmaConfig(**_SIZES)
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    if family == "gemma2":
        caps: dict[str, Any] = {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0}
        return Gemma2Config(**_SIZES, **caps, query_pre_attn_scalar=8, sliding_window=WINDOW, layer_types=kinds)
    if family == "gemma3":
        return Gemma3TextConfig(**_SIZES, query_pre_attn_scalar=8, sliding_window=WINDOW, layer_types=kinds)
    if family == "llama":
        return LlamaConfig(**_SIZES)
    return GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=3, n_head=4, **_EAGER)


def make_toy(family: str, folder: Path, *, biases: bool = True) -> tuple[LanguageModel, PreTrainedModel]:
    """The model opened by us, and the same as Hugging Face opens it; every weight is random, norms' too."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(toy_config(family))
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.3)
        elif name.endswith("bias"):
            parameter.data.normal_(0, 0.3 if biases else 0.0)
        else:
            parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    load_tokenizer(bundle.MODEL_FOLDER).save_pretrained(folder)
    return load_model(str(folder), device="cpu"), model.eval()


def toy_batch(lengths: tuple[int, ...] = (14, 9, 12)) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tokens of a padded batch and its mask."""
    generator = torch.Generator().manual_seed(1)
    width = max(lengths)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    return torch.randint(3, 64, (len(lengths), width), generator=generator) * mask, mask
