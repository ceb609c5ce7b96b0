"""Sampling lists from the model, so that each list depends on its own seed and on nothing around it."""

from __future__ import annotations

import functools
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
from saeattr.progress import OnCount, quiet


@dataclass(frozen=True)
class SampledList:
    """A list that the model wrote, or one from elsewhere that is put behind its request.

    ``token_ids`` is the whole conversation, up to and including the end of the answer's turn; its first
    ``prompt_length`` tokens were given. ``list_id`` is unique within a topic; ``seed`` is this list's own. ``source``
    is ``model``, or says where a list from elsewhere stands (top_p is NaN, so is temperature unless known).
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
    source: str = "model"


@dataclass(frozen=True)
class Sampling:
    """How lists are sampled.

    Attributes:
        n_lists: how many.
        length: the word of the request; corrupted: that of the request which reads the same answers beside, where one
            does.
        temperature: 0 takes the most probable token.
        top_p: tokens are drawn among the most probable that together reach this.
        max_new_tokens: a list that is longer is cut off.
        batch_size: lists in one forward; it does not change them (up to float rounding).
        seed: of the whole; each list has one of its own that follows from it.
        first: the index of the first list: many lists of one seed can be drawn in parts.

    Raises:
        UserError: a setting is out of range.
    """

    n_lists: int = 10
    length: Length = "short"
    corrupted: Length = "long"
    temperature: float = 0.8
    top_p: float = 0.9
    max_new_tokens: int = 200
    batch_size: int = 16
    seed: int = 0
    first: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature {self.temperature:g} is not allowed: give 0 (greedy) or a positive number")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p {self.top_p:g} is not allowed: give a number above 0 and at most 1")
        if self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens {self.max_new_tokens} is not allowed: give 1 or more")
        if self.batch_size < 1:
            raise UserError(f"batch_size {self.batch_size} is not allowed: give 1 or more")


def sample_lists(
    lm: LanguageModel,
    topic: str,
    sampling: Sampling | None = None,
    *,
    beside: bool = False,
    on_count: OnCount = quiet,
) -> list[SampledList]:
    """Let the model answer the request for a list of ``topic``.

    Args:
        beside: run the corrupted request too; it reads the same answers (``sample_answers``).
        on_count: told, after each step, how many lists are finished, and how many there are.

    Raises:
        UserError: the tokenizer lacks a chat template or a mark.
    """
    sampling = sampling or Sampling()
    markers, decode = ListMarkers.from_tokenizer(lm.tokenizer), decoder(lm.tokenizer)
    prompt = prompt_ids(lm.tokenizer, topic, sampling.length)
    prompts = [prompt, prompt_ids(lm.tokenizer, topic, sampling.corrupted)] if beside else [prompt]
    indexes = range(sampling.first, sampling.first + sampling.n_lists)
    seeds = [list_seed(sampling.seed, topic, index) for index in indexes]
    on_step = functools.partial(_count_of, on_count, sampling.n_lists)
    answers = sample_answers(lm, prompts, seeds, sampling, markers.stop_ids, on_step)
    lists: list[SampledList] = []
    for index, own_seed, answer in zip(indexes, seeds, answers, strict=True):
        ids = (*prompt, *answer)
        lists.append(
            SampledList(
                topic=topic,
                length=sampling.length,
                request=list_request(topic, sampling.length),
                list_id=f"{index:03d}",
                token_ids=ids,
                prompt_length=len(prompt),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=own_seed,
                parsed=parse_list(ids, markers, decode),
            )
        )
    return lists


def _count_of(on_count: OnCount, total: int, done: int) -> None:
    on_count(done, total)


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
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    sampling: Sampling,
    stop_ids: Collection[int],
    on_step: Callable[[int], None] = quiet,
) -> list[tuple[int, ...]]:
    """Continue one prompt once for each seed; an answer ends with the first of ``stop_ids``, which it keeps.

    Each answer draws one number a step from a generator of its own, so it is the same in any batch (up to float
    rounding, which can depend on the batch's size).

    Args:
        prompts: the prompt, and others of as many tokens that read the same answers, in rows behind its own: nothing
            is drawn from them, but hooks see all runs.
        on_step: told, after each step, how many answers are finished.
    """
    answers: list[tuple[int, ...]] = []
    for start in range(0, len(seeds), sampling.batch_size):
        done = len(answers)
        rows = _Rows(lm, prompts, seeds[start : start + sampling.batch_size], sampling, frozenset(stop_ids))
        for _ in range(sampling.max_new_tokens):
            rows.step()
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
        sampling: Sampling,
        stop_ids: frozenset[int],
    ) -> None:
        self.lm, self.sampling, self.stop_ids = lm, sampling, stop_ids
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
        if self.sampling.temperature == 0:
            return logits.argmax(dim=-1)
        draws = [float(torch.rand((), generator=self._generators[row], dtype=torch.float64)) for row in self.live]
        if logits.device.type == "mps":
            # It has no float64.
            logits = logits.cpu()
        uniforms = torch.tensor(draws, dtype=torch.float64, device=logits.device)
        # With the largest logit at 0, no temperature is too small to divide by.
        shifted = logits - logits.amax(dim=-1, keepdim=True)
        return choose_tokens(shifted / self.sampling.temperature, self.sampling.top_p, uniforms)


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
