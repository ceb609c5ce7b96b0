"""A row's prompts and answers as tokens, and where its named spans stand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.chat import chat_text
from saeattr.behaviours.given.rows import PairRow, RowUnusable
from saeattr.behaviours.tokens import prompt_tokens
from saeattr.errors import UserError


@dataclass(frozen=True)
class PromptTokens:
    """A prompt as the model reads it.

    Attributes:
        text: all of it, with what a chat template writes around the turns.
        own: the [start, end) characters that the user wrote.
        around: the positions of tokens that hold none of them; empty where the tokenizer does not tell.
    """

    text: str
    ids: tuple[int, ...]
    own: tuple[int, int]
    around: tuple[int, ...] = ()


def read_prompt(tokenizer: PreTrainedTokenizerBase, row: PairRow, written: str) -> PromptTokens:
    """A prompt of a row; a chat's is rendered by the tokenizer's template.

    Raises:
        RowUnusable: there is no chat template, or it takes no such turns.
    """
    text, first = written, 0
    if row.chat:
        try:
            text = chat_text(tokenizer, written, row.system)
        except UserError as error:
            raise RowUnusable(
                str(error), "leave chat (or system) out, or use a model that is tuned on chats"
            ) from error
        # Templates strip the turns.
        written = written.strip()
        first = _turn_start(tokenizer, row.system, text, written)
        text += row.start
    ids = prompt_tokens(tokenizer, text)
    if not ids:
        raise RowUnusable("the prompt is no token", "write some text")
    prompt = PromptTokens(text, tuple(ids), (first, first + len(written)))
    if not row.chat or not tokenizer.is_fast:
        return prompt
    own = _positions(tokenizer, prompt, *prompt.own)
    return dataclasses.replace(prompt, around=tuple(at for at in range(len(ids)) if at not in own))


def _turn_start(tokenizer: PreTrainedTokenizerBase, system: str | None, text: str, written: str) -> int:
    """Where the user's turn begins in a rendered text: where two others begin to differ if it is there more than once.

    Raises:
        RowUnusable: the template changes what the user wrote.
    """
    if text.count(written) == 1:
        return text.index(written)
    probes = zip(*(chat_text(tokenizer, probe, system) for probe in ("a", "1")), strict=False)
    first = next(at for at, (one, other) in enumerate(probes) if one != other)
    if not text[first:].lstrip().startswith(written):
        raise RowUnusable("the chat template changes the text of the turn", "write it as the template leaves it")
    return text.index(written, first)


def answer_tokens(tokenizer: PreTrainedTokenizerBase, prompt: PromptTokens, answer: str) -> tuple[int, ...]:
    """What an answer adds to the prompt's tokens.

    Raises:
        RowUnusable: it is unknown to the tokenizer, or prompt and answer share a token.
    """
    joined = prompt_tokens(tokenizer, prompt.text + answer)
    size = len(prompt.ids)
    ids = tuple(joined[size:])
    if tuple(joined[:size]) != prompt.ids or not ids:
        raise RowUnusable(
            f"the answer {answer!r} shares a token with the end of the prompt",
            "let the prompt end before the blank and the answer begin with it, as in ' Paris', or give answer_ids",
        )
    # Of some tokenizers the unknown token is one that closes a text, and can be meant.
    if tokenizer.unk_token_id in ids and str(tokenizer.unk_token) not in answer:
        raise RowUnusable(
            f"the answer {answer!r} is unknown to the tokenizer", "write it with the blank before it, as in ' Paris'"
        )
    return ids


def span_positions(
    tokenizer: PreTrainedTokenizerBase, prompt: PromptTokens, spans: Mapping[str, str | tuple[int, int]]
) -> dict[str, tuple[int, ...]]:
    """By name the positions of the tokens that hold a character of a span.

    Raises:
        RowUnusable: a span is not in what the user wrote, is there more than once, or holds no token.
    """
    if not spans:
        return {}
    if not tokenizer.is_fast:
        raise RowUnusable("this tokenizer does not tell where its tokens stand in a text", "leave spans out")
    found = {}
    for name, span in spans.items():
        found[name] = _positions(tokenizer, prompt, *_characters(prompt, name, span))
        if not found[name]:
            raise RowUnusable(f"the span {name!r} holds no token", "name a text of the clean prompt")
    return found


def _positions(tokenizer: PreTrainedTokenizerBase, prompt: PromptTokens, start: int, end: int) -> tuple[int, ...]:
    """The positions of the tokens that hold one of the characters [start, end)."""
    encoded: Any = tokenizer(prompt.text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    behind_bos = len(prompt.ids) - len(offsets)
    return tuple(at + behind_bos for at, (low, high) in enumerate(offsets) if low < end and high > start)


def _characters(prompt: PromptTokens, name: str, span: str | tuple[int, int]) -> tuple[int, int]:
    """The [start, end) characters of a span in the whole text."""
    first, stop = prompt.own
    written = prompt.text[first:stop]
    if isinstance(span, str):
        times = written.count(span) if span else 0
        if times != 1:
            raise RowUnusable(
                f"the span {name!r} ({span!r}) is {times} times in the clean prompt",
                "name a text that is there once, or its [start, end) characters",
            )
        span = (written.index(span), written.index(span) + len(span))
    start, end = span
    if not 0 <= start < end <= len(written):
        raise RowUnusable(
            f"the span {name!r} cannot be [{start}, {end})", f"the clean prompt has the characters [0, {len(written)})"
        )
    return first + start, first + end
