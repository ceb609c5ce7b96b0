"""Texts as tokens: prompts as the model reads them, and texts that must be one token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saeattr.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """A plain text as the model reads it: behind the beginning-of-sequence token, where the tokenizer has one.

    Tokenizers differ in whether they put one (GPT-2's does not, and its first position would be a word of the text).
    """
    bos = tokenizer.bos_token_id
    ids = [int(token) for token in tokenizer.encode(text, add_special_tokens=False)]
    if bos is None or ids[:1] == [bos]:
        return ids
    return [int(bos), *ids]  # pyright: ignore[reportArgumentType]


def single_token(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    r"""The id of a text that is one token; ``\n`` may be written with a backslash.

    Raises:
        UserError: it is no token, or several.
    """
    text = text.replace("\\n", "\n")
    ids = tokenizer.encode(text, add_special_tokens=False)
    unknown = tokenizer.unk_token_id
    if len(ids) != 1 or (ids[0] == unknown and text != tokenizer.unk_token):
        found = "unknown to" if ids == [unknown] else f"{len(ids)} tokens in"
        raise UserError(
            f"{text!r} is {found} this tokenizer: a metric token must be exactly one token "
            "(a word inside a text usually starts with a blank, as in ' Paris')"
        )
    return int(ids[0])


def contrast_tokens(tokenizer: PreTrainedTokenizerBase, texts: tuple[str, str]) -> tuple[int, int]:
    """The ids of ``--contrast A B``.

    Raises:
        UserError: a text is not exactly one token, or both are the same.
    """
    wanted, unwanted = (single_token(tokenizer, text) for text in texts)
    if wanted == unwanted:
        raise UserError(f"--contrast needs two different tokens, got {texts[0]!r} twice")
    return wanted, unwanted


def contrast_label(texts: tuple[str, str]) -> str:
    return f"logit({texts[0]!r}) - logit({texts[1]!r})"
