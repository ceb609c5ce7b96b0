"""Sampling lists from the model, so that each list depends on its own seed and on nothing around it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from saeattr.behaviours.chat import chat_prompt
from saeattr.behaviours.lists.parsing import ListMarkers, ParsedList, decoder, parse_list
from saeattr.behaviours.lists.topics import Length, list_request
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.model.unembed import full_logits


@dataclass(frozen=True)
class SampledList:
    """A list that the model wrote.

    ``token_ids`` is the whole conversation, up to and including the end of the answer's turn; its first
    ``prompt_length`` tokens were given. ``list_id`` is unique within a topic; ``seed`` is this list's own.
    """

    topic: str
    length: Length
    request: str
    list_id: str
    token_ids: tuple[int, ...]
    prompt_length: int
    temperature: float
    top_p: float
    seed: int
    parsed: ParsedList


def sample_lists(
    lm: LanguageModel,
    topic: str,
    n: int,
    *,
    length: Length = "short",
    beside: Length | None = None,
    seed: int = 0,
    temperature: float = 0.8,
    top_p: float = 0.9,
    max_new_tokens: int = 200,
    batch_size: int = 16,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[SampledList]:
    """Let the model answer the request for a list ``n`` times.

    ``beside`` is another length whose request reads the same answers (``sample_answers``). ``on_progress`` is told,
    after each step, how many lists are finished, and ``n``.

    Raises:
        UserError: a setting is out of range, or the tokenizer lacks a chat template or a marker.
    """
    markers = ListMarkers.from_tokenizer(lm.tokenizer)
    decode = decoder(lm.tokenizer)
    prompt = prompt_ids(lm.tokenizer, topic, length)
    seeds = [list_seed(seed, topic, index) for index in range(n)]
    answers = sample_answers(
        lm,
        prompt,
        seeds,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        stop_ids=markers.stop_ids,
        beside=None if beside is None else prompt_ids(lm.tokenizer, topic, beside),
        batch_size=batch_size,
        on_step=None if on_progress is None else lambda finished: on_progress(finished, n),
    )
    lists: list[SampledList] = []
    for index, (own_seed, answer) in enumerate(zip(seeds, answers, strict=True)):
        ids = (*prompt, *answer)
        lists.append(
            SampledList(
                topic=topic,
                length=length,
                request=list_request(topic, length),
                list_id=f"{index:03d}",
                token_ids=ids,
                prompt_length=len(prompt),
                temperature=temperature,
                top_p=top_p,
                seed=own_seed,
                parsed=parse_list(ids, markers, decode),
            )
        )
    return lists


def prompt_ids(tokenizer: PreTrainedTokenizerBase, topic: str, length: Length = "short") -> list[int]:
    """The request for a list as the model sees it, up to where its answer begins.

    Raises:
        UserError: the tokenizer has no chat template.
    """
    return chat_prompt(tokenizer, list_request(topic, length))


def list_seed(seed: int, topic: str, index: int) -> int:
    """The seed of one list, below 2**63: the same on every machine, and unlike its neighbours'."""
    digest = hashlib.sha256(json.dumps([seed, topic, index]).encode())
    return int.from_bytes(digest.digest()[:8], "big") >> 1


@torch.no_grad()
def sample_answers(
    lm: LanguageModel,
    prompt_ids: Sequence[int],
    seeds: Sequence[int],
    *,
    temperature: float = 0.8,
    top_p: float = 0.9,
    max_new_tokens: int = 200,
    stop_ids: Collection[int],
    beside: Sequence[int] | None = None,
    batch_size: int = 16,
    on_step: Callable[[int], None] | None = None,
) -> list[tuple[int, ...]]:
    """Continue one prompt once for each seed; an answer ends with the first of ``stop_ids``, which it keeps.

    Each answer draws one number a step from a generator of its own, so it is the same in any batch (up to float
    rounding, which can depend on the batch's size). ``temperature`` 0 takes the most probable token. ``on_step`` is
    told, after each step, how many answers are finished. ``beside`` is another prompt of as many tokens that reads the
    same answers, in rows behind the others: nothing is drawn from it, but hooks see both runs.

    Raises:
        UserError: a setting is out of range.
    """
    _check_settings(temperature, top_p, max_new_tokens, batch_size)
    prompts = [prompt_ids] if beside is None else [prompt_ids, beside]
    answers: list[tuple[int, ...]] = []
    for start in range(0, len(seeds), batch_size):
        done = len(answers)
        rows = _Rows(lm, prompts, seeds[start : start + batch_size], temperature, top_p, frozenset(stop_ids))
        for _ in range(max_new_tokens):
            rows.step()
            if on_step is not None:
                on_step(done + len(rows.answers) - len(rows.live))
            if not rows.live:
                break
        answers += [tuple(answer) for answer in rows.answers]
    return answers


class _Rows:
    """A batch of answers in progress. Rows that ended leave the batch, so late steps are cheap."""

    def __init__(
        self,
        lm: LanguageModel,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        temperature: float,
        top_p: float,
        stop_ids: frozenset[int],
    ) -> None:
        self.lm, self.temperature, self.top_p, self.stop_ids = lm, temperature, top_p, stop_ids
        self.answers: list[list[int]] = [[] for _ in seeds]
        self.live = list(range(len(seeds)))
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._cache = DynamicCache(config=lm.hf.config.get_text_config())
        self._n_prompts = len(prompts)
        # All rows share the prompt: it is read once and its keys and values are copied.
        hidden = self._read(torch.tensor([list(prompt) for prompt in prompts], device=lm.device))
        self._hidden = hidden[:1].repeat(len(seeds), 1)
        self._cache.batch_repeat_interleave(len(seeds))

    def step(self) -> None:
        """Draw the next token of each live row and read it; rows that end with it are dropped."""
        if self.live and self.answers[self.live[0]]:
            last = [self.answers[row][-1] for row in self.live]
            ids = torch.tensor(last * self._n_prompts, device=self.lm.device)
            self._hidden = self._read(ids[:, None])[: len(last)]
        tokens = self._draw(full_logits(self.lm, self._hidden)).tolist()
        keep: list[int] = []
        for at, (row, token) in enumerate(zip(self.live, tokens, strict=True)):
            self.answers[row].append(token)
            if token not in self.stop_ids:
                keep.append(at)
        if 0 < len(keep) < len(self.live):
            kept = [nth * len(self.live) + at for nth in range(self._n_prompts) for at in keep]
            self._cache.batch_select_indices(torch.tensor(kept, device=self.lm.device))
        self.live = [self.live[at] for at in keep]

    def _read(self, ids: Int[Tensor, "rows new"]) -> Float[Tensor, "rows d_model"]:
        """Run the model on new tokens; the output of the final norm at the last of them."""
        model: Any = self.lm.hf.base_model
        output = model(input_ids=ids, past_key_values=self._cache, use_cache=True)
        return output.last_hidden_state[:, -1]

    def _draw(self, logits: Float[Tensor, "rows vocab"]) -> Int[Tensor, " rows"]:
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        draws = [float(torch.rand((), generator=self._generators[row], dtype=torch.float64)) for row in self.live]
        if logits.device.type == "mps":
            # It has no float64.
            logits = logits.cpu()
        uniforms = torch.tensor(draws, dtype=torch.float64, device=logits.device)
        # With the largest logit at 0, no temperature is too small to divide by.
        shifted = logits - logits.amax(dim=-1, keepdim=True)
        return choose_tokens(shifted / self.temperature, self.top_p, uniforms)


def choose_tokens(
    logits: Float[Tensor, "rows vocab"], top_p: float, uniforms: Float[Tensor, " rows"]
) -> Int[Tensor, " rows"]:
    """Inverse-CDF samples among the most probable tokens that together reach probability ``top_p``.

    The token whose share crosses ``top_p`` is still among them. Tokens are laid out from the most probable on; each
    of ``uniforms``, in [0, 1), picks the token whose share of the line it falls in.
    """
    probs, tokens = torch.softmax(logits.float(), dim=-1).sort(dim=-1, descending=True, stable=True)
    # Over a vocabulary of 256,000 a float32 running sum would lose the tail.
    upto = probs.double().cumsum(dim=-1)
    kept = (upto - probs < top_p).sum(dim=-1, keepdim=True)
    total = upto.gather(1, kept - 1)
    place = torch.searchsorted(upto, uniforms[:, None].double() * total, right=True)
    return tokens.gather(1, torch.minimum(place, kept - 1))[:, 0]


def _check_settings(temperature: float, top_p: float, max_new_tokens: int, batch_size: int) -> None:
    if not 0 <= temperature < float("inf"):
        raise UserError(f"temperature {temperature:g} is not allowed: give 0 (greedy) or a positive number")
    if not 0 < top_p <= 1:
        raise UserError(f"top_p {top_p:g} is not allowed: give a number above 0 and at most 1")
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens {max_new_tokens} is not allowed: give 1 or more")
    if batch_size < 1:
        raise UserError(f"batch_size {batch_size} is not allowed: give 1 or more")
