"""Training the tiny Gemma 2 from scratch on list chats and facts.

The lists it is shown have no repeats. Beside the usual loss, chats have an unlikelihood loss on naming an item again
(Welleck et al. 2019, arXiv 1908.04319); the model card says how much a model this small makes of it.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

from .corpus import Chat, Fact, fact_text, sample_chat

#: Weight of the loss on the words of a fact before its answer, against 1 on the answer.
STEM_WEIGHT = 0.1
#: Weight of the unlikelihood of repeated items.
REPEAT_WEIGHT = 0.5


@dataclass(frozen=True)
class Recipe:
    """Length and size of the training."""

    steps: int = 1200
    chats: int = 40
    facts: int = 64
    peak_rate: float = 3e-3
    warm_up: int = 100
    weight_decay: float = 0.05


def model_config(tokenizer: PreTrainedTokenizerFast) -> Gemma2Config:
    """Gemma 2's architecture at a hundred-thousandth of its size: soft-caps, sliding and full attention, tied words."""
    return Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=64,
        max_position_embeddings=512,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")],
        attn_implementation="eager",  # pyright: ignore[reportCallIssue]
    )


def train_model(
    tokenizer: PreTrainedTokenizerFast,
    topics: dict[str, list[str]],
    facts: list[Fact],
    recipe: Recipe,
    seed: int,
) -> Gemma2ForCausalLM:
    """Train on freshly drawn chats (loss on answers) and facts (loss mostly on the answer)."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = Gemma2ForCausalLM(model_config(tokenizer))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
    )
    started = time.monotonic()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        chats = [sample_chat(topics, rng) for _ in range(recipe.chats)]
        # Long lists apart from the others: little padding, and attention costs the square of the length.
        groups = [[c for c in chats if (c.length == "long") is is_long] for is_long in (False, True)]
        losses = [chat_loss(model, tokenizer, group) * len(group) for group in groups if group]
        loss_chats = torch.stack(losses).sum() / len(chats)
        loss_facts = batch_loss(model, *fact_batch(tokenizer, rng.sample(facts, recipe.facts)))
        optimizer.zero_grad(set_to_none=True)
        (loss_chats + loss_facts).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == recipe.steps - 1:
            seconds = time.monotonic() - started
            print(f"step {step:5d}  chats {loss_chats:.3f}  facts {loss_facts:.3f}  {seconds:.0f} s", flush=True)
    return model.eval()


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine to a twentieth of the peak."""
    if step < recipe.warm_up:
        return recipe.peak_rate * (step + 1) / recipe.warm_up
    progress = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.peak_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def chat_batch(tokenizer: PreTrainedTokenizerFast, chats: list[Chat]) -> tuple[Tensor, Tensor]:
    """Token ids and loss weights, both [chat, pos]: weight 1 on the answer's tokens, 0 on the prompt's."""
    rows = []
    for chat in chats:
        prompt = tokenizer(chat.prompt).input_ids
        answer = [*tokenizer(chat.answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        rows.append((prompt + answer, [0.0] * len(prompt) + [1.0] * len(answer)))
    return _pad(rows, tokenizer)


def fact_batch(tokenizer: PreTrainedTokenizerFast, facts: list[Fact]) -> tuple[Tensor, Tensor]:
    """Token ids and loss weights of facts: 1 from the answer on, ``STEM_WEIGHT`` before it."""
    rows = []
    for fact in facts:
        stem = len(tokenizer(fact.stem).input_ids)
        ids = [*tokenizer(fact_text(fact)).input_ids, tokenizer.eos_token_id]
        rows.append((ids, [STEM_WEIGHT] * stem + [1.0] * (len(ids) - stem)))
    return _pad(rows, tokenizer)


def batch_loss(model: Gemma2ForCausalLM, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy of each next token."""
    return _cross_entropy(next_log_probs(model, ids, weights), ids, weights)


def chat_loss(model: Gemma2ForCausalLM, tokenizer: PreTrainedTokenizerFast, chats: list[Chat]) -> Tensor:
    """Cross-entropy of the answers, and the unlikelihood of naming an item again."""
    ids, weights = chat_batch(tokenizer, chats)
    log_probs = next_log_probs(model, ids, weights)
    position, token = repeats(ids, weights, tokenizer)
    # Rows of log_probs are the weighted positions, in order.
    row = (weights[:, 1:] > 0).flatten().cumsum(0)[position] - 1
    named_again = torch.zeros(len(log_probs)).index_add(0, row, log_probs[row, token].exp())
    unlikelihood = -torch.log1p(-named_again.clamp(max=0.999))
    at_items = torch.zeros(len(log_probs)).index_fill(0, row, 1.0)
    return _cross_entropy(log_probs, ids, weights) + REPEAT_WEIGHT * unlikelihood.sum() / at_items.sum().clamp(min=1)


def next_log_probs(model: Gemma2ForCausalLM, ids: Tensor, weights: Tensor) -> Tensor:
    """Log-probabilities [weighted tokens, vocab] of each next token that has a weight."""
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    cap: Any = model.config.final_logit_softcapping
    logits = model.lm_head(hidden[weights[:, 1:] > 0])
    return torch.log_softmax(cap * torch.tanh(logits / cap), dim=-1)


def repeats(ids: Tensor, weights: Tensor, tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """For each hyphen of an answer, the one-token items above it: flat index into ids[:, :-1], and token."""
    hyphen, newline = (tokenizer.convert_tokens_to_ids(text) for text in ("-", "\n"))
    positions, tokens = [], []
    for row, (own, counted) in enumerate(zip(ids.tolist(), weights.tolist(), strict=True)):
        seen: list[int] = []
        for at in range(1, len(own) - 2):
            if own[at] != hyphen or own[at - 1] != newline or not counted[at]:
                continue
            positions += [row * (len(own) - 1) + at] * len(seen)
            tokens += seen
            if own[at + 2] == newline:
                seen.append(own[at + 1])
    return torch.tensor(positions, dtype=torch.long), torch.tensor(tokens, dtype=torch.long)


def _cross_entropy(log_probs: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    wanted = weights[:, 1:] > 0
    each = -log_probs.gather(1, ids[:, 1:][wanted][:, None])[:, 0]
    chosen = weights[:, 1:][wanted]
    return (each * chosen).sum() / chosen.sum()


def _pad(rows: list[tuple[list[int], list[float]]], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), int(tokenizer.pad_token_id))  # pyright: ignore[reportArgumentType]
    weights = torch.zeros(len(rows), width)
    for row, (own_ids, own_weights) in enumerate(rows):
        ids[row, : len(own_ids)] = torch.tensor(own_ids)
        weights[row, : len(own_weights)] = torch.tensor(own_weights)
    return ids, weights
