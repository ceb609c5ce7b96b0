"""Training the small Gemma 2 on sentences of agreement and years, and what it can do on those that it has not seen."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from bundled.activations import Batch
from bundled.train_model import Recipe, Shape, batch_loss, learning_rate, model_config, pad_rows
from transformers import Gemma2ForCausalLM, PreTrainedTokenizerFast

from saeattr.behaviours.ready.agreement import VERBS
from saeattr.behaviours.ready.ready import Row

from .grammar import Sentence, draw_sentence, kept_rows, sources

SHAPE = Shape(layers=4, d_model=64, d_head=16)
RECIPE = Recipe(steps=450, warm_up=60)
#: Sentences of a batch, from each of the five groups alike.
BATCH = 100
#: Weight of the loss on the other words, against 1 on the answer.
OTHER_WEIGHT = 0.1
TEST_ROWS = 300


def train(tokenizer: PreTrainedTokenizerFast, recipe: Recipe, seed: int) -> Gemma2ForCausalLM:
    """Train from scratch on freshly drawn sentences."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    drawn = [source for _, _, source in sources(tokenizer)]
    model = Gemma2ForCausalLM(model_config(tokenizer, SHAPE))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
    )
    started = time.monotonic()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        sentences = [draw_sentence(drawn[at % len(drawn)], rng) for at in range(BATCH)]
        loss = batch_loss(model, *sentence_batch(tokenizer, sentences))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == recipe.steps - 1:
            print(f"step {step:5d}  loss {loss:.3f}  {time.monotonic() - started:.0f} s", flush=True)
    return model.eval()


def sentence_batch(tokenizer: PreTrainedTokenizerFast, sentences: Sequence[Sentence]) -> Batch:
    """Token ids and loss weights, both [sentence, pos]."""
    prompts = tokenizer([one.prompt for one in sentences]).input_ids
    ends = tokenizer([one.ending for one in sentences], add_special_tokens=False).input_ids
    answers = tokenizer([one.answer for one in sentences], add_special_tokens=False).input_ids
    rows = []
    for prompt, answer, end in zip(prompts, answers, ends, strict=True):
        after = [*end, tokenizer.eos_token_id]
        weights = [OTHER_WEIGHT] * len(prompt) + [1.0] * len(answer) + [OTHER_WEIGHT] * len(after)
        rows.append((prompt + answer + after, weights))
    return pad_rows(rows, tokenizer)


def draw_batches(tokenizer: PreTrainedTokenizerFast, n: int, seed: int) -> list[Batch]:
    """``n`` batches of sentences as in training."""
    rng = random.Random(seed)
    drawn = [source for _, _, source in sources(tokenizer)]
    return [
        sentence_batch(tokenizer, [draw_sentence(drawn[at % len(drawn)], rng) for at in range(BATCH)]) for _ in range(n)
    ]


def measure(model: Gemma2ForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> list[dict[str, Any]]:
    """What the model does with rows that it was not trained on, one entry for each group (and distractor's number)."""
    found = []
    for behaviour, group, _ in sources(tokenizer):
        rows = kept_rows(behaviour, group, tokenizer, TEST_ROWS, seed)
        parts = {"": rows}
        if any("distractor_number" in row for row in rows):
            parts = {
                "distractor of the same number": [row for row in rows if row["number"] == row["distractor_number"]],
                "distractor of the other number": [row for row in rows if row["number"] != row["distractor_number"]],
            }
        for part, own in parts.items():
            measured = [_measure(model, tokenizer, row) for row in own]
            means = {name: statistics.mean(one[name] for one in measured) for name in measured[0]}
            found.append({"behaviour": behaviour.name, "group": group, "part": part, "rows": len(own), **means})
    return found


@torch.no_grad()
def _measure(model: Gemma2ForCausalLM, tokenizer: PreTrainedTokenizerFast, row: Row) -> dict[str, float]:
    """right: the answers together are likelier than the wrong ones; difference: of their probabilities. For agreement
    number_difference: of the probabilities of all verbs of the right number and of the other.
    """
    logits = model(input_ids=torch.tensor([tokenizer(row["clean"]).input_ids])).logits[0, -1]
    p = torch.softmax(logits.float(), 0)
    difference = _probability(p, tokenizer, row["answer"]) - _probability(p, tokenizer, row["wrong"])
    found = {"right": float(difference > 0), "difference": difference}
    if "number" in row:
        of_one, of_many = (_probability(p, tokenizer, [f" {verb[at]}" for verb in VERBS]) for at in (0, 1))
        found["number_difference"] = of_one - of_many if row["number"] == "singular" else of_many - of_one
    return found


def _probability(p: torch.Tensor, tokenizer: PreTrainedTokenizerFast, texts: str | list[str]) -> float:
    texts = [texts] if isinstance(texts, str) else texts
    return float(p[[tokenizer.encode(text, add_special_tokens=False)[0] for text in texts]].sum())
