"""Words that a tokenizer has whole, and templates that know where their words stand."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.tokens import single_token
from saeattr.errors import UserError

#: A span of a row: the text itself where it stands once in the prompt, else [start, end) in characters.
Span = str | list[int]


def listed(words: str) -> tuple[str, ...]:
    """Words written in a row, with blanks between them."""
    return tuple(words.split())


def is_single(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    """Whether a text, with its blank, is one token."""
    try:
        single_token(tokenizer, text)
    except UserError:
        return False
    return True


def keep_singles(
    tokenizer: PreTrainedTokenizerBase, words: Sequence[str], what: str, *, least: int = 2, blank: str = " "
) -> tuple[list[str], str]:
    """The words that are single tokens behind a blank, and a line that counts them.

    Args:
        what: the behaviour and what the words are, as "ioi: names".
        least: so many there must be.
        blank: what stands before a word.

    Raises:
        UserError: fewer than ``least`` are.
    """
    kept = [word for word in words if is_single(tokenizer, blank + word)]
    return kept, _counted(len(kept), len(words), what, least)


def keep_single_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], what: str, *, least: int = 2
) -> tuple[list[tuple[str, str]], str]:
    """The pairs of which both words are single tokens behind a blank, and a line that counts them.

    Raises:
        UserError: fewer than ``least`` are.
    """
    kept = [pair for pair in pairs if all(is_single(tokenizer, f" {word}") for word in pair)]
    return kept, _counted(len(kept), len(pairs), what, least)


def _counted(kept: int, total: int, what: str, least: int) -> str:
    name, words = what.split(": ", 1)
    if kept < least:
        raise UserError(
            f"{name} cannot be asked of this model: {kept} of {total} {words} are single tokens of its tokenizer, "
            f"at least {least} are needed"
        )
    return f"{name}: {kept} of {total} {words} are single tokens"


def fill(template: str, words: Mapping[str, str], spans: Mapping[str, str]) -> tuple[str, dict[str, Span]]:
    """A template with its words, and where some of them stand.

    Args:
        template: with ``{field}`` for each word; words: by field.
        spans: the name of the span, by field.
    """
    text = ""
    places: dict[str, tuple[int, int]] = {}
    for before, field, _, _ in string.Formatter().parse(template):
        text += before
        if field is not None:
            if field in spans:
                places[spans[field]] = (len(text), len(text) + len(words[field]))
            text += words[field]
    return text, {
        name: text[start:end] if text.count(text[start:end]) == 1 else [start, end]
        for name, (start, end) in places.items()
    }
