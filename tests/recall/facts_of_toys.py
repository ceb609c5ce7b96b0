"""Facts of random tokens for tiny random models, and those models edited by plain hooks on their modules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from saeattr.behaviours.pair import Pair
from tests.patching.toy_pairs import toy_pairs

Change = Callable[[Tensor], Tensor]


def toy_facts(lengths: tuple[int, ...] = (9, 12, 9, 10)) -> list[Pair]:
    """Four facts of two categories; tokens 3 and 4 are the entity."""
    facts = []
    for at, pair in enumerate(toy_pairs(lengths)):
        roles = tuple("entity" if role == "word" else role for role in pair.roles)
        facts.append(dataclasses.replace(pair, group=f"relation {at % 2}", roles=roles))
    return facts


@contextmanager
def plainly(
    model: Any, z: Mapping[int, Change], mlp: Mapping[int, Change] | None = None
) -> Iterator[dict[Any, Tensor]]:
    """The Hugging Face model with z and MLP outputs passed through functions at the last position.

    Yields:
        what each layer adds to the stream at the last position: ``("attn", layer)`` and ``("mlp", layer)``.
    """
    seen: dict[Any, Tensor] = {}
    handles = []

    def at_last(change: Change | None, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, -1] = x[:, -1] if change is None else change(x[:, -1])
        return x

    def keep(key: Any, change: Change | None) -> Callable[..., Tensor]:
        def hook(module: Any, args: Any, out: Any) -> Any:
            whole = out[0] if isinstance(out, tuple) else out
            edited = at_last(change, whole)
            seen[key] = edited[:, -1].detach()
            return (edited, *out[1:]) if isinstance(out, tuple) else edited

        return hook

    for layer, block in enumerate(blocks(model)):
        out, attention, wide = outputs(block)
        handles.append(
            out.register_forward_pre_hook(lambda m, args, at=layer: (at_last(z.get(at), args[0]), *args[1:]))
        )
        handles.append(attention.register_forward_hook(keep(("attn", layer), z.get(-1 - layer))))
        handles.append(wide.register_forward_hook(keep(("mlp", layer), (mlp or {}).get(layer))))
    try:
        with torch.no_grad():
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def blocks(model: Any) -> Any:
    return model.transformer.h if hasattr(model, "transformer") else model.model.layers


def outputs(block: Any) -> tuple[Any, Any, Any]:
    """The projection that z enters, and the modules that give what attention and MLP add to the stream."""
    if hasattr(block, "attn"):
        return block.attn.c_proj, block.attn, block.mlp
    normed = hasattr(block, "post_feedforward_layernorm")
    attention = block.post_attention_layernorm if normed else block.self_attn
    return block.self_attn.o_proj, attention, block.post_feedforward_layernorm if normed else block.mlp


def last_logits(model: Any, ids: tuple[int, ...]) -> Tensor:
    """Of the last position, in double precision."""
    return model(input_ids=torch.tensor([ids])).logits[0, -1].double()


def difference(model: Any, fact: Pair, ids: tuple[int, ...] | None = None) -> float:
    """The metric: logit(wanted) - logit(unwanted) after the clean prompt."""
    point, logits = fact.points[-1], last_logits(model, ids or fact.clean_ids)
    return float(logits[point.wanted[0]] - logits[point.unwanted[0]])
