"""Activations of the trained model at every site, over chats and facts."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import Gemma2ForCausalLM, PreTrainedTokenizerFast

from saeattr.sites import KINDS, Site

from .corpus import Fact, sample_chat
from .train_model import chat_batch, fact_batch

ALL_SITES = [Site(kind, layer) for layer in range(6) for kind in KINDS]
#: Of the deep model; the last layer is left out, where every estimate is good.
DEEP_SITES = [Site(kind, layer) for layer in (1, 4, 7, 10, 13) for kind in KINDS]


#: Token ids and loss weights, both [row, pos].
Batch = tuple[Tensor, Tensor]


def hook_site(model: Gemma2ForCausalLM, site: Site, edit: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """Pass the activation at ``site``, [batch, pos, d_in], through ``edit``."""
    layer: Any = model.model.layers[site.layer]
    if site.kind == "attn_z":
        return layer.self_attn.o_proj.register_forward_pre_hook(lambda module, args: (edit(args[0]),))
    module = layer if site.kind == "resid_post" else layer.post_feedforward_layernorm
    return module.register_forward_hook(lambda module, args, out: edit(out))


def draw_batches(
    tokenizer: PreTrainedTokenizerFast,
    topics: dict[str, list[str]],
    facts: list[Fact],
    n_chats: int,
    seed: int,
) -> list[Batch]:
    """Batches of 40: ``n_chats`` fresh chats, then every fact once."""
    rng = random.Random(seed)
    chats = sorted((sample_chat(topics, rng) for _ in range(n_chats)), key=lambda chat: len(chat.items))
    batches = [chat_batch(tokenizer, chats[start : start + 40]) for start in range(0, n_chats, 40)]
    return batches + [fact_batch(tokenizer, facts[start : start + 40]) for start in range(0, len(facts), 40)]


@torch.no_grad()
def collect(
    model: Gemma2ForCausalLM, batches: list[Batch], sites: list[Site]
) -> dict[Site, Float[Tensor, "tokens d_in"]]:
    """Activations at all real tokens but BOS, in the order of the batches."""
    found: dict[Site, list[Tensor]] = {site: [] for site in sites}
    for ids, _ in batches:
        real = ids != model.config.pad_token_id
        real[:, 0] = False

        def keep(x: Tensor, site: Site, real: Tensor = real) -> Tensor:
            found[site].append(x[real])
            return x

        handles = [hook_site(model, site, lambda x, site=site, keep=keep: keep(x, site)) for site in sites]
        model.model(input_ids=ids)
        for handle in handles:
            handle.remove()
    return {site: torch.cat(parts) for site, parts in found.items()}
