"""Sampling lists from the model, so that each list depends on its own seed and on nothing around it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.chat import chat_prompt
from saeattr.behaviours.lists.answers import Asked, Live, sample_answers
from saeattr.behaviours.lists.parsing import ListMarkers, ParsedList, decoder, parse_list
from saeattr.behaviours.lists.topics import Length, list_request
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.progress import OnCount, quiet
from saeattr.settings.checks import COLDEST


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
        if self.temperature != 0 and not COLDEST <= self.temperature < float("inf"):
            raise UserError(
                f"temperature {self.temperature:g} is not allowed: give 0 (greedy) or a number from {COLDEST:g}"
            )
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
        beside: run the corrupted request too; it reads the same answers (``Asked``).
        on_count: told, after each step, how many lists are finished, and how many there are.

    Raises:
        UserError: the tokenizer lacks a chat template or a mark.
    """
    return sample_variants(lm, topic, sampling or Sampling(), 1, beside=beside, on_count=on_count)[0]


def sample_variants(
    lm: LanguageModel,
    topic: str,
    sampling: Sampling,
    n_variants: int,
    *,
    beside: bool = False,
    on_forward: Callable[[Live], None] = quiet,
    on_count: OnCount = quiet,
) -> list[list[SampledList]]:
    """The same lists several times over, each time in rows of another variant, for hooks to tell apart.

    All are rows of the same batches (``sampling.batch_size`` lists in each), which is several times as fast as one
    variant after the other. List number n draws the same random numbers in every variant.

    Args:
        on_forward: told the rows of each forward before it.
        beside, on_count: as for ``sample_lists``.

    Returns:
        for each variant its lists.

    Raises:
        UserError: as for ``sample_lists``.
    """
    markers, decode = ListMarkers.from_tokenizer(lm.tokenizer), decoder(lm.tokenizer)
    prompt = prompt_ids(lm.tokenizer, topic, sampling.length)
    indexes = range(sampling.first, sampling.first + sampling.n_lists)
    seeds = [list_seed(sampling.seed, topic, index) for index in indexes]
    asked = Asked(
        prompt,
        seeds * n_variants,
        [variant for variant in range(n_variants) for _ in seeds],
        prompt_ids(lm.tokenizer, topic, sampling.corrupted) if beside else None,
        on_forward,
    )
    on_step = functools.partial(_count_of, on_count, len(asked.seeds))
    answers = sample_answers(lm, asked, sampling, markers.stop_ids, on_step)
    lists: list[SampledList] = []
    for number, (own_seed, answer) in enumerate(zip(asked.seeds, answers, strict=True)):
        ids = (*prompt, *answer)
        lists.append(
            SampledList(
                topic=topic,
                length=sampling.length,
                request=list_request(topic, sampling.length),
                list_id=f"{indexes[number % sampling.n_lists]:03d}",
                token_ids=ids,
                prompt_length=len(prompt),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=own_seed,
                parsed=parse_list(ids, markers, decode),
            )
        )
    return [lists[nth * sampling.n_lists : (nth + 1) * sampling.n_lists] for nth in range(n_variants)]


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
