"""What the bundled model and its SAEs can do, measured on text that was not trained on (lists) or all of it (facts)."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Gemma2ForCausalLM, PreTrainedTokenizerFast

from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import SampledList, Sampling, sample_lists
from saeattr.behaviours.lists.topics import Length
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import run_batch
from saeattr.runs.question import Question
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site

from .activations import Batch, hook_site
from .corpus import Fact
from .train_model import batch_loss


@torch.no_grad()
def fact_accuracy(model: Gemma2ForCausalLM, tokenizer: PreTrainedTokenizerFast, facts: list[Fact]) -> dict[str, float]:
    """Share of facts whose answer is the likeliest next token, and the lowest share in any category."""
    right: dict[str, list[bool]] = {}
    for fact in facts:
        ids = torch.tensor([tokenizer(fact.stem).input_ids])
        answer = tokenizer(f" {fact.answer}", add_special_tokens=False).input_ids[0]
        right.setdefault(fact.category, []).append(int(model(input_ids=ids).logits[0, -1].argmax()) == answer)
    shares = {category: statistics.mean(hits) for category, hits in right.items()}
    return {
        "facts": len(facts),
        "categories": len(shares),
        "right": statistics.mean(hit for hits in right.values() for hit in hits),
        "lowest_category": min(shares.values()),
    }


def list_behaviour(lm: LanguageModel, topics: dict[str, list[str]], n: int, seed: int) -> dict[str, dict[str, float]]:
    """How lists look, by the length asked for, over ``n`` lists of every topic."""
    found: dict[str, dict[str, float]] = {}
    lengths: tuple[Length, ...] = ("short", "none", "long")
    for length in lengths:
        lists = [one for topic in topics for one in sample_lists(lm, topic, Sampling(n, length=length, seed=seed))]
        found[length] = _describe(lists, topics)
    return found


def _describe(lists: Sequence[SampledList], topics: dict[str, list[str]]) -> dict[str, float]:
    ended = [one for one in lists if one.parsed.ended and one.parsed.complete_items]
    counts = [len(one.parsed.complete_items) for one in ended]
    names = [[item.text for item in one.parsed.complete_items] for one in ended]
    on_topic = [name in topics[one.topic] for one, own in zip(ended, names, strict=True) for name in own]
    repeats = [len(own) - len(set(own)) for own in names]
    return {
        "lists": len(lists),
        "ended": len(ended) / len(lists),
        "items_mean": statistics.mean(counts),
        "items_sd": statistics.pstdev(counts),
        "on_topic": statistics.mean(on_topic),
        "repeated_items": sum(repeats) / sum(counts),
        "blank_after_last": statistics.mean(one.parsed.complete_items[-1].blank is not None for one in ended),
        "blank_after_others": statistics.mean(
            item.blank is not None for one in ended for item in one.parsed.complete_items[:-1]
        ),
    }


def metric_after_last(lm: LanguageModel, topics: Sequence[str], n: int, seed: int) -> dict[str, list[float]]:
    """Mean logit(<end_of_turn>) - logit(-) after the last seven items of short lists, clean and corrupted."""
    lists = [one for topic in topics for one in sample_lists(lm, topic, Sampling(n, seed=seed))]
    pairs, _ = make_pairs(lm.tokenizer, lists)
    batch = run_batch(lm, pairs, [Site("resid_post", 0)], Question())
    rows, points = batch.reads.row, batch.reads.point
    from_last = points - torch.bincount(rows)[rows]
    curves: dict[str, list[float]] = {}
    assert batch.corrupted_reads is not None
    for name, values in (("clean", batch.clean_reads), ("corrupted", batch.corrupted_reads)):
        curves[name] = [float(values[from_last == back].mean()) for back in range(-6, 1)]
    return curves


@torch.no_grad()
def sae_quality(model: Gemma2ForCausalLM, sae: SparseAutoencoder, batches: list[Batch]) -> dict[str, float]:
    """Reconstruction on held-out text, BOS excluded, and the share of the loss kept when the SAE is spliced in.

    loss_recovered = (loss with the site at zero - loss with x_hat) / (loss with the site at zero - plain loss).
    """
    seen: list[Tensor] = []
    for ids, _ in batches:
        real = _real(ids, model)
        handle = hook_site(model, sae.site, lambda x, real=real: (seen.append(x[real]), x)[1])
        model.model(input_ids=ids)
        handle.remove()
    x = torch.cat(seen)
    f = sae.encode(x)
    rest = x - sae.decode(f)
    plain = _mean_loss(model, batches)
    zero = _mean_loss(model, batches, sae.site, torch.zeros_like)
    spliced = _mean_loss(model, batches, sae.site, lambda x: sae.decode(sae.encode(x.flatten(0, 1))).view_as(x))
    return {
        "tokens": len(x),
        "unexplained": float(rest.square().sum() / (x - x.mean(0)).square().sum()),
        "l0": float((f > 0).sum(1).float().mean()),
        "dead": float(1 - (f > 0).any(0).float().mean()),
        "loss": plain,
        "loss_zero": zero,
        "loss_spliced": spliced,
        "loss_recovered": (zero - spliced) / (zero - plain),
    }


def _mean_loss(model: Gemma2ForCausalLM, batches: list[Batch], site: Site | None = None, edit: Any = None) -> float:
    """Loss over all weighted tokens; an edit leaves BOS and padding as they are."""
    total, weight = 0.0, 0.0
    for ids, weights in batches:
        handles = []
        if site is not None:
            real = _real(ids, model)[..., None]
            handles.append(hook_site(model, site, lambda x, real=real: torch.where(real, edit(x), x)))
        counted = float(weights[:, 1:].sum())
        total += float(batch_loss(model, ids, weights)) * counted
        weight += counted
        for handle in handles:
            handle.remove()
    return total / weight


def _real(ids: Tensor, model: Gemma2ForCausalLM) -> Tensor:
    real = ids != model.config.pad_token_id
    real[:, 0] = False
    return real


def shortfalls(figures: dict[str, Any]) -> list[str]:
    """What misses the marks that the bundle is held to, one line each."""
    found = []
    if figures["facts"]["right"] < 0.95:
        found.append(f"facts: {figures['facts']['right']:.3f} right, at least 0.95 wanted")
    marks = [
        ("unexplained", lambda v: v <= 0.02),
        ("l0", lambda v: 5 <= v <= 25),
        ("dead", lambda v: v <= 0.10),
        ("loss_recovered", lambda v: v >= 0.98),
    ]
    for (site, quality), (name, holds) in itertools.product(figures["saes"].items(), marks):
        if not holds(quality[name]):
            found.append(f"{site}: {name} is {quality[name]:.4f}")
    return found
