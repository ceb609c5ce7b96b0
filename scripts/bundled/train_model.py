"""Training the tiny Gemma 2 from scratch on list chats and facts."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

from .corpus import Chat, Fact, fact_text, sample_chat

#: Weight of the loss on the words of a fact before its answer, against 1 on the answer.
STEM_WEIGHT = 0.1


@dataclass(frozen=True)
class Shape:
    """Size of the model; the MLP is four times as wide as the residual stream."""

    layers: int = 6
    d_model: int = 128
    d_head: int = 32


@dataclass(frozen=True)
class Checkpoints:
    """Models to save on the way: after each of these numbers of steps (0: untrained), in folders step-N."""

    steps: tuple[int, ...] = ()
    folder: Path = Path()

    def save(self, step: int, model: Gemma2ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
        if step in self.steps:
            model.save_pretrained(self.folder / f"step-{step}")
            tokenizer.save_pretrained(self.folder / f"step-{step}")


@dataclass(frozen=True)
class Recipe:
    """Length and size of the training; saving checkpoints draws no random number, so it changes no weight."""

    steps: int = 1800
    chats: int = 40
    facts: int = 64
    peak_rate: float = 3e-3
    warm_up: int = 100
    weight_decay: float = 0.05
    checkpoints: Checkpoints = Checkpoints()


#: Many narrow layers, trained in minutes: for benchmarks of what depth does.
DEEP_SHAPE = Shape(layers=16, d_model=64, d_head=16)
DEEP_RECIPE = Recipe(steps=1200, chats=24, facts=8)


def model_config(tokenizer: PreTrainedTokenizerFast, shape: Shape) -> Gemma2Config:
    """Gemma 2's architecture at a hundred-thousandth of its size: soft-caps, sliding and full attention, tied words."""
    return Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.d_model,
        intermediate_size=4 * shape.d_model,
        num_hidden_layers=shape.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=shape.d_head,
        query_pre_attn_scalar=shape.d_head,
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
    shape: Shape,
) -> Gemma2ForCausalLM:
    """Train on freshly drawn chats (loss on answers) and facts (loss mostly on the answer)."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = Gemma2ForCausalLM(model_config(tokenizer, shape))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
    )
    started = time.monotonic()
    recipe.checkpoints.save(0, model, tokenizer)
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        chats = [sample_chat(topics, rng) for _ in range(recipe.chats)]
        # Long lists apart from the others: little padding, and attention costs the square of the length.
        groups = [[c for c in chats if (c.length == "long") is is_long] for is_long in (False, True)]
        losses = [batch_loss(model, *chat_batch(tokenizer, group)) * len(group) for group in groups if group]
        loss_chats = torch.stack(losses).sum() / len(chats)
        loss_facts = batch_loss(model, *fact_batch(tokenizer, rng.sample(facts, recipe.facts)))
        optimizer.zero_grad(set_to_none=True)
        (loss_chats + loss_facts).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == recipe.steps - 1:
            seconds = time.monotonic() - started
            print(f"step {step:5d}  chats {loss_chats:.3f}  facts {loss_facts:.3f}  {seconds:.0f} s", flush=True)
        recipe.checkpoints.save(step + 1, model, tokenizer)
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
    return pad_rows(rows, tokenizer)


def fact_batch(tokenizer: PreTrainedTokenizerFast, facts: list[Fact]) -> tuple[Tensor, Tensor]:
    """Token ids and loss weights of facts: 1 from the answer on, ``STEM_WEIGHT`` before it."""
    rows = []
    for fact in facts:
        stem = len(tokenizer(fact.stem).input_ids)
        ids = [*tokenizer(fact_text(fact)).input_ids, tokenizer.eos_token_id]
        rows.append((ids, [STEM_WEIGHT] * stem + [1.0] * (len(ids) - stem)))
    return pad_rows(rows, tokenizer)


def batch_loss(model: Gemma2ForCausalLM, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy of each next token."""
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    wanted = weights[:, 1:] > 0
    logits = model.lm_head(hidden[wanted])
    logits = 30.0 * torch.tanh(logits / 30.0)
    each = torch.nn.functional.cross_entropy(logits, ids[:, 1:][wanted], reduction="none")
    chosen = weights[:, 1:][wanted]
    return (each * chosen).sum() / chosen.sum()


def pad_rows(rows: list[tuple[list[int], list[float]]], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Token ids and loss weights as two tensors of one width, [row, pos]."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), int(tokenizer.pad_token_id))  # pyright: ignore[reportArgumentType]
    weights = torch.zeros(len(rows), width)
    for row, (own_ids, own_weights) in enumerate(rows):
        ids[row, : len(own_ids)] = torch.tensor(own_ids)
        weights[row, : len(own_weights)] = torch.tensor(own_weights)
    return ids, weights
