"""From the final hidden state to logits: all of them, or only the rows that a metric needs."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.model.loading import LanguageModel
from saeattr.model.relevance import hold_ratio


def token_logits(
    lm: LanguageModel, hidden: Float[Tensor, "rows d_model"], token_ids: Int[Tensor, " tokens"]
) -> Float[Tensor, "rows tokens"]:
    """Logits of a few tokens, in float32 with the model's final soft-cap: only their unembedding rows are used.

    ``hidden`` is the output of the final norm.
    """
    whole = unembedding(lm)
    weight = whole[token_ids.to(whole.device)].float()
    logits = hidden.float().to(weight.device) @ weight.T
    bias = getattr(lm.hf.get_output_embeddings(), "bias", None)
    if isinstance(bias, Tensor):
        logits = logits + bias[token_ids.to(bias.device)].float()
    return soft_cap(lm, logits)


def full_logits(lm: LanguageModel, hidden: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
    """Logits of the whole vocabulary, in float32 with the model's final soft-cap."""
    weight = unembedding(lm)
    logits = (hidden.to(weight) @ weight.T).float()
    bias = getattr(lm.hf.get_output_embeddings(), "bias", None)
    if isinstance(bias, Tensor):
        logits = logits + bias.float()
    return soft_cap(lm, logits)


def unembedding(lm: LanguageModel) -> Float[Tensor, "vocab d_model"]:
    return lm.hf.get_output_embeddings().weight  # pyright: ignore[reportOptionalMemberAccess, reportReturnType]


def soft_cap(lm: LanguageModel, logits: Tensor) -> Tensor:
    """``cap * tanh(logits / cap)`` where the model's configuration has such a cap (Gemma 2: 30)."""
    cap = getattr(lm.hf.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else hold_ratio(logits, cap * torch.tanh(logits / cap))
