"""From the final hidden state to logits: all of them, or only the rows that a metric needs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from saeattr.model.loading import LanguageModel
from saeattr.model.relevance import hold_ratio

#: Tokens of the vocabulary whose unembedding rows are held in float32 at a time: 150 MB at a width of 2,304.
VOCABULARY_SLICE = 2**14


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


def single_logits(
    lm: LanguageModel, hidden: Float[Tensor, "rows d_model"], token_ids: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """The logit of one token for each row, as ``token_logits`` makes them."""
    whole = unembedding(lm)
    token_ids = token_ids.to(whole.device)
    logits = (hidden.float().to(whole.device) * whole[token_ids].float()).sum(dim=1)
    bias = getattr(lm.hf.get_output_embeddings(), "bias", None)
    if isinstance(bias, Tensor):
        logits = logits + bias[token_ids].float()
    return soft_cap(lm, logits)


def full_logits(lm: LanguageModel, hidden: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
    """Logits of the whole vocabulary, in float32 with the model's final soft-cap."""
    weight = unembedding(lm)
    logits = (hidden.to(weight) @ weight.T).float()
    bias = getattr(lm.hf.get_output_embeddings(), "bias", None)
    if isinstance(bias, Tensor):
        logits = logits + bias.float()
    return soft_cap(lm, logits)


def log_normaliser(lm: LanguageModel, hidden: Float[Tensor, "rows d_model"]) -> Float[Tensor, " rows"]:
    """log sum exp of the whole vocabulary's logits, in float32: what a logit lacks to be a log-probability.

    The vocabulary is taken in slices, and a backward computes them again: a float32 copy of the unembedding is held of
    one slice at a time.
    """
    parts = []
    for token_ids in vocabulary_slices(lm, hidden.device):

        def of_slice(hidden: Tensor, token_ids: Tensor = token_ids) -> Tensor:
            return token_logits(lm, hidden, token_ids).logsumexp(dim=1)

        parts.append(checkpoint(of_slice, hidden, use_reentrant=False) if torch.is_grad_enabled() else of_slice(hidden))
    return torch.stack(parts, dim=1).logsumexp(dim=1)  # pyright: ignore[reportArgumentType]


@torch.no_grad()
def entropy(
    lm: LanguageModel, hidden: Float[Tensor, "rows d_model"]
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """The entropy of the next token in nats, and log sum exp of the logits, both in float32 with the soft-cap applied.

    The vocabulary is taken in slices, so that no logits of all of it are held. Entropies of parts make that of the
    whole: H = H(w) + sum_k w_k H_k, with w_k the probability of slice k and H_k the entropy within it (Shannon 1948,
    section 6).
    """
    totals, within = [], []
    for token_ids in vocabulary_slices(lm, hidden.device):
        log_p = token_logits(lm, hidden, token_ids)
        total = log_p.logsumexp(dim=1)
        log_p = log_p - total[:, None]
        totals.append(total)
        within.append(-(log_p.exp() * log_p).sum(dim=1))
    stacked = torch.stack(totals, dim=1)
    whole = stacked.logsumexp(dim=1)
    log_w = stacked - whole[:, None]
    return (log_w.exp() * (torch.stack(within, dim=1) - log_w)).sum(dim=1), whole


def vocabulary_slices(lm: LanguageModel, device: torch.device) -> Iterator[Int[Tensor, " tokens"]]:
    """The ids of the whole vocabulary, ``VOCABULARY_SLICE`` at a time."""
    n_tokens = unembedding(lm).shape[0]
    for start in range(0, n_tokens, VOCABULARY_SLICE):
        yield torch.arange(start, min(start + VOCABULARY_SLICE, n_tokens), device=device)


def unembedding(lm: LanguageModel) -> Float[Tensor, "vocab d_model"]:
    return lm.hf.get_output_embeddings().weight  # pyright: ignore[reportOptionalMemberAccess, reportReturnType]


def soft_cap(lm: LanguageModel, logits: Tensor) -> Tensor:
    """``cap * tanh(logits / cap)`` where the model's configuration has such a cap (Gemma 2: 30)."""
    cap = getattr(lm.hf.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else hold_ratio(logits, cap * torch.tanh(logits / cap))
