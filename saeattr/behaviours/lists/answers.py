"""Answers written token by token: rows of one batch behind one prompt, each with a seed, and with edits of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache

from saeattr.model.loading import LanguageModel
from saeattr.model.prompts import check_ids
from saeattr.model.unembed import full_logits
from saeattr.progress import quiet

#: Tokens of a row that are looked at first when one is drawn.
LIKELIEST = 128


class Drawing(Protocol):
    """How tokens are drawn; ``Sampling`` says it."""

    @property
    def temperature(self) -> float: ...
    @property
    def top_p(self) -> float: ...
    @property
    def max_new_tokens(self) -> int: ...
    @property
    def batch_size(self) -> int: ...


@dataclass(frozen=True)
class Live:
    """The rows of one forward, for hooks that treat them differently. The answers' rows come first.

    Attributes:
        variants: of each answer's row, in the order of rows.
        beside: for each of them the row that reads the same answer behind the other prompt; None without one.
    """

    variants: Sequence[int]
    beside: Sequence[int] | None = None


@dataclass(frozen=True)
class Asked:
    """Answers that are wanted.

    Attributes:
        prompt: what they continue.
        seeds: one for each answer.
        variants: of each answer, which edits its rows get; hooks find it in ``Live``. None: all are of variant 0.
        beside: another prompt of as many tokens that reads the same answers, in rows behind the others: nothing is
            drawn from them, but hooks see them. Answers that are the same so far share such a row.
        on_forward: told the rows of each forward before it.
    """

    prompt: Sequence[int]
    seeds: Sequence[int]
    variants: Sequence[int] | None = None
    beside: Sequence[int] | None = None
    on_forward: Callable[[Live], None] = quiet


@torch.no_grad()
def sample_answers(
    lm: LanguageModel,
    asked: Asked,
    drawing: Drawing,
    stop_ids: Collection[int],
    on_step: Callable[[int], None] = quiet,
) -> list[tuple[int, ...]]:
    """Continue a prompt once for each seed; an answer ends with the first of ``stop_ids``, which it keeps.

    Each answer draws one number a step from a generator of its own, so it is the same in any batch (up to float
    rounding, which can depend on the batch's size).

    Args:
        on_step: told, after each step, how many answers are finished.
    """
    answers: list[tuple[int, ...]] = []
    variants = asked.variants or [0] * len(asked.seeds)
    for start in range(0, len(asked.seeds), drawing.batch_size):
        part = slice(start, start + drawing.batch_size)
        rows = _Rows(lm, asked, asked.seeds[part], variants[part], drawing)
        for _ in range(drawing.max_new_tokens):
            rows.step(stop_ids)
            on_step(len(answers) + len(rows.answers) - len(rows.live))
            if not rows.live:
                break
        answers += [tuple(answer) for answer in rows.answers]
    return answers


class _Rows:
    """A batch of answers in progress. Rows that ended leave the batch, so late steps are cheap.

    The cache holds a row for each live answer, then one for each different answer beside. ``_at`` and ``_beside`` say
    for each live answer which they are; the cache itself is put in order before the next token is read.
    """

    def __init__(
        self, lm: LanguageModel, asked: Asked, seeds: Sequence[int], variants: Sequence[int], drawing: Drawing
    ) -> None:
        self.lm, self.drawing, self.on_forward = lm, drawing, asked.on_forward
        self.answers: list[list[int]] = [[] for _ in seeds]
        self.live = list(range(len(seeds)))
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._variants = list(variants)
        self._cache = DynamicCache(config=lm.hf.config.get_text_config())
        # The rows of a variant share the prompt: it is read once and its keys and values are copied.
        read = list(dict.fromkeys(variants))
        prompts = [list(asked.prompt)] * len(read)
        self._at = [read.index(variant) for variant in variants]
        self._beside: list[int] | None = None
        if asked.beside is not None:
            prompts.append(list(asked.beside))
            self._beside = [len(read)] * len(seeds)
        self.on_forward(Live(read, None if self._beside is None else [len(read)] * len(read)))
        check_ids(lm, torch.tensor(prompts))
        self._hidden = self._read(torch.tensor(prompts, device=lm.device))[self._at]
        self._n_cached = len(prompts)

    def step(self, stop_ids: Collection[int]) -> None:
        """Draw the next token of each live row, having read the one before; rows that end with it are dropped."""
        if self.live and self.answers[self.live[0]]:
            ids = torch.tensor(self._arrange(), device=self.lm.device)
            self.on_forward(Live([self._variants[row] for row in self.live], self._beside))
            self._hidden = self._read(ids[:, None])[: len(self.live)]
        tokens = self._draw(full_logits(self.lm, self._hidden)).tolist()
        for row, token in zip(self.live, tokens, strict=True):
            self.answers[row].append(token)
        keep = [nth for nth, token in enumerate(tokens) if token not in stop_ids]
        self.live, self._at = [self.live[nth] for nth in keep], [self._at[nth] for nth in keep]
        if self._beside is not None:
            self._beside = [self._beside[nth] for nth in keep]

    def _arrange(self) -> list[int]:
        """Put the cache's rows in the order of the live answers, and say which token each row reads next."""
        ids, rows = [self.answers[row][-1] for row in self.live], list(self._at)
        if self._beside is not None:
            # Behind the other prompt an answer is read once, however many rows are writing the same.
            read = list(zip(self._beside, ids, strict=True))
            place = {key: len(ids) + nth for nth, key in enumerate(dict.fromkeys(read))}
            self._beside = [place[key] for key in read]
            rows += [row for row, _ in place]
            ids += [token for _, token in place]
        if rows != list(range(self._n_cached)):
            self._cache.batch_select_indices(torch.tensor(rows, device=self.lm.device))
        self._at, self._n_cached = list(range(len(self.live))), len(rows)
        return ids

    def _read(self, ids: Int[Tensor, "rows new"]) -> Float[Tensor, "rows d_model"]:
        """Run the model on new tokens; the output of the final norm at the last of them."""
        model: Any = self.lm.hf.base_model
        output = model(input_ids=ids, past_key_values=self._cache, use_cache=True)
        return output.last_hidden_state[:, -1]

    def _draw(self, logits: Float[Tensor, "rows vocab"]) -> Int[Tensor, " rows"]:
        if self.drawing.temperature == 0:
            return logits.argmax(dim=-1)
        draws = [float(torch.rand((), generator=self._generators[row], dtype=torch.float64)) for row in self.live]
        if logits.device.type == "mps":
            # It has no float64.
            logits = logits.cpu()
        uniforms = torch.tensor(draws, dtype=torch.float64, device=logits.device)
        return draw_tokens(logits, self.drawing, uniforms)


@torch.no_grad()
def cached_bytes(lm: LanguageModel) -> int:
    """Bytes of keys and values that one token of one row leaves in all layers."""
    cache: Any = DynamicCache(config=lm.hf.config.get_text_config())
    model: Any = lm.hf.base_model
    model(input_ids=torch.tensor([[0]], device=lm.device), past_key_values=cache, use_cache=True)
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


def draw_tokens(
    logits: Float[Tensor, "rows vocab"], drawing: Drawing, uniforms: Float[Tensor, " rows"]
) -> Int[Tensor, " rows"]:
    """``choose_tokens`` at the temperature of the drawing, which is not 0."""
    # With the largest logit at 0, no temperature is too small to divide by.
    shifted = logits - logits.amax(dim=-1, keepdim=True)
    return choose_tokens(shifted / drawing.temperature, drawing.top_p, uniforms)


def choose_tokens(
    logits: Float[Tensor, "rows vocab"], top_p: float, uniforms: Float[Tensor, " rows"]
) -> Int[Tensor, " rows"]:
    """Inverse-CDF samples among the most probable tokens that together reach probability ``top_p``.

    The token whose share crosses ``top_p`` is still among them. Tokens are laid out from the most probable on; each
    of ``uniforms``, in [0, 1), picks the token whose share of the line it falls in.
    """
    probs = torch.softmax(logits.float(), dim=-1)
    chosen = torch.zeros_like(uniforms, dtype=torch.long)
    left = torch.arange(len(probs), device=probs.device)
    # A whole vocabulary is sorted only for the rows in which the likeliest few do not reach top_p.
    for width in (LIKELIEST, probs.shape[1]):
        tokens, sure = _choose_among(probs[left], width, top_p, uniforms[left])
        chosen[left[sure]] = tokens[sure]
        left = left[~sure]
        if not len(left):
            break
    return chosen


def _choose_among(
    probs: Float[Tensor, "rows vocab"], width: int, top_p: float, uniforms: Float[Tensor, " rows"]
) -> tuple[Int[Tensor, " rows"], Bool[Tensor, " rows"]]:
    """A token of each row, and whether its ``width`` most probable tokens were enough to say."""
    if whole := width >= probs.shape[1]:
        likely, tokens = probs.sort(dim=-1, descending=True, stable=True)
    else:
        # Equally probable tokens stand in the order of their ids.
        tokens = probs.topk(width, dim=-1).indices.sort(dim=-1).values
        likely, order = probs.gather(1, tokens).sort(dim=-1, descending=True, stable=True)
        tokens = tokens.gather(1, order)
    # Over a vocabulary of 256,000 a float32 running sum would lose the tail.
    upto = likely.double().cumsum(dim=-1)
    kept = (upto - likely < top_p).sum(dim=-1, keepdim=True)
    last = likely.gather(1, kept - 1)
    sure = torch.ones_like(last, dtype=torch.bool) if whole else last > likely[:, -1:]
    place = torch.searchsorted(upto, uniforms[:, None].double() * upto.gather(1, kept - 1), right=True)
    return tokens.gather(1, torch.minimum(place, kept - 1))[:, 0], sure[:, 0]
