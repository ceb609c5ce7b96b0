"""Few-shot prompts of facts: other known facts of the same relation and phrasing, with their answers, come before.

A shown fact never has the answer or the entity of the fact that is asked, clean or corrupted, so nothing is told; both
prompts show the same facts and differ in the last line's entity alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.pair import BOS, Pair
from saeattr.behaviours.tokens import prompt_tokens

#: Before the asked fact, in the order in which they are tried: the first that leaves its tokens as they are. Behind a
#: line's end a tokenizer may write the first word otherwise than at the start of a text; then a blank goes before it.
SEPARATORS = ("\n", ". ")
#: The role of what is shown.
SHOWN = "shown"


@dataclass(frozen=True)
class KnownFact:
    """A fact that the model knows in a phrasing.

    Attributes:
        text: the prompt with its answer.
    """

    category: str
    phrasing: str
    entity: str
    prompt: str
    answer: str

    @property
    def text(self) -> str:
        return self.prompt + self.answer


@dataclass(frozen=True)
class ShotPair:
    """A fact behind others.

    Attributes:
        shown: the text before the asked prompt, blank for none; answers: of the shown facts, a token each.
    """

    pair: Pair
    shots: int
    shown: str
    answers: tuple[int, ...]


def known_facts(triage: pd.DataFrame) -> tuple[KnownFact, ...]:
    """What can be shown: the rows of a triage that the model knows, in the battery's order."""
    known = triage[triage["known"]].sort_values("row")
    names = ["category", "phrasing", "entity", "clean_prompt", "clean_target"]
    return tuple(KnownFact(*map(str, row)) for row in known[names].itertuples(index=False))


def shot_pairs(
    tokenizer: PreTrainedTokenizerBase, pair: Pair, known: Sequence[KnownFact], counts: Sequence[int], seed: int
) -> tuple[list[ShotPair], str]:
    """A fact behind nothing and behind so many others; why there is no such prompt, else blank."""
    texts = {tuple(prompt_tokens(tokenizer, one.prompt)): one for one in known}
    asked, corrupted = (None if ids is None else texts.get(ids) for ids in (pair.clean_ids, pair.corrupted_ids))
    if asked is None:
        return [], "its prompt is not one of those that were asked"
    banned = {*pair.points[0].wanted, *pair.points[0].unwanted}
    entities = {asked.entity, None if corrupted is None else corrupted.entity}
    # An entity that has several rows in a phrasing, each with another corrupted prompt, is shown once.
    others = [
        one
        for one in {(one.category, one.prompt): one for one in known}.values()
        if (one.category, one.phrasing) == (asked.category, asked.phrasing)
        and one.entity not in entities
        and banned.isdisjoint(prompt_tokens(tokenizer, one.text))
    ]
    if len(others) < max(counts):
        return [], f"{len(others)} other known facts of the same phrasing can be shown before it"
    order = np.random.default_rng([seed, *pair.clean_ids]).permutation(len(others))
    found = [ShotPair(pair, 0, "", ())]
    for count in counts:
        # Of more shots the last ones are those of fewer.
        chosen = [others[at] for at in order[:count]][::-1]
        made = _behind(tokenizer, pair, asked, chosen)
        if made is None:
            return [], "the tokenizer joins it with what is shown before it"
        found.append(made)
    return found, ""


def _behind(
    tokenizer: PreTrainedTokenizerBase, pair: Pair, asked: KnownFact, chosen: Sequence[KnownFact]
) -> ShotPair | None:
    """A fact behind others, with the first separator that leaves the prompt's own tokens as they are."""
    own = pair.clean_ids[1:] if pair.roles[0] == BOS else pair.clean_ids
    for separator in SEPARATORS:
        shown = "".join(one.text + separator for one in chosen)
        whole = tuple(prompt_tokens(tokenizer, shown + asked.prompt))
        before = whole[: len(whole) - len(own)]
        if whole[len(before) :] == own and tokenizer.unk_token_id not in whole:
            answers = tuple(answer_token(tokenizer, one) for one in chosen)
            return ShotPair(_put_behind(pair, before), len(chosen), shown, answers)
    return None


def _put_behind(pair: Pair, before: tuple[int, ...]) -> Pair:
    """A pair with other tokens before both of its prompts; BOS, where there is one, is the first of them."""
    with_bos = pair.roles[0] == BOS
    own = slice(1 if with_bos else 0, None)
    assert pair.corrupted_ids is not None
    shift = len(before) - own.start
    roles = [BOS if with_bos and at == 0 else SHOWN for at in range(len(before))]
    return dataclasses.replace(
        pair,
        clean_ids=before + pair.clean_ids[own],
        corrupted_ids=before + pair.corrupted_ids[own],
        roles=(*roles, *pair.roles[own]),
        points=tuple(dataclasses.replace(one, position=one.position + shift) for one in pair.points),
    )


def answer_token(tokenizer: PreTrainedTokenizerBase, fact: KnownFact) -> int:
    """The answer's token, which a triage has found to be one."""
    return int(prompt_tokens(tokenizer, fact.text)[-1])


def domains(tokenizer: PreTrainedTokenizerBase, known: Sequence[KnownFact]) -> dict[str, tuple[int, ...]]:
    """By relation the tokens that are answers of it."""
    found: dict[str, dict[int, None]] = {}
    for one in known:
        found.setdefault(one.category, {})[answer_token(tokenizer, one)] = None
    return {category: tuple(ids) for category, ids in found.items()}
