"""What writing lists takes in memory: keys and values on meta tensors, and a draw of tokens as it is."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from saeattr.behaviours.lists.answers import draw_tokens
from saeattr.model.costs import COUNTED_ROWS, Cost, through
from saeattr.model.loading import LanguageModel
from saeattr.model.memory import LiveBytes
from saeattr.model.unembed import full_logits

#: Vocabulary in which a draw is counted.
COUNTED_TOKENS = 2**14


@dataclass(frozen=True)
class _UsualDraw:
    temperature: float = 0.8
    top_p: float = 0.9
    max_new_tokens: int = 1
    batch_size: int = 1


@torch.no_grad()
def rehearse_writing(lm: LanguageModel, length: int) -> tuple[Cost, Cost]:
    """The last token of lists of ``length`` tokens: the most alive at once, and of it the keys and values.

    Args:
        lm: from ``saeattr.model.memory.meta_model``.
    """
    known, drawn = list(lm.hf.parameters()), _draw_bytes() * lm.hf.config.get_text_config().vocab_size
    peaks, held = [], []
    for rows in COUNTED_ROWS:
        with LiveBytes(known) as live:
            cache = _filled(lm, rows, length - 1)
            held.append(live.now)
            logits = full_logits(lm, _last_token(lm, cache, rows))
            peaks.append(max(live.peak, live.now + rows * drawn))
            del logits
    return through(*peaks), through(*held)


def _filled(lm: LanguageModel, rows: int, length: int) -> DynamicCache:
    """A cache that has read ``length`` tokens of so many rows."""
    config, model = lm.hf.config.get_text_config(), _base_model(lm)
    one, cache = DynamicCache(config=config), DynamicCache(config=config)
    model(input_ids=torch.zeros(1, 1, dtype=torch.long, device="meta"), past_key_values=one, use_cache=True)
    for number, layer in enumerate(one.layers):
        tokens: Any = layer
        keys, values = (
            part.new_empty(rows, part.shape[1], length, part.shape[3]) for part in (tokens.keys, tokens.values)
        )
        cache.update(keys, values, number)
    return cache


def _last_token(lm: LanguageModel, cache: DynamicCache, rows: int) -> torch.Tensor:
    cache.batch_select_indices(torch.zeros(rows, dtype=torch.long, device="meta"))
    ids = torch.zeros(rows, 1, dtype=torch.long, device="meta")
    return _base_model(lm)(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]


def _base_model(lm: LanguageModel) -> Any:
    return lm.hf.base_model


@functools.cache
def _draw_bytes() -> float:
    """Of a row and a token of the vocabulary, where the likeliest tokens are enough to draw from."""
    logits = torch.zeros(8, COUNTED_TOKENS)
    logits[:, 0] = 100.0
    with LiveBytes([logits]) as live:
        draw_tokens(logits, _UsualDraw(), torch.full((8,), 0.5, dtype=torch.float64))
    return live.peak / logits.numel()
