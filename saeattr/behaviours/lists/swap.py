"""The words in which two requests for a list differ: where they stand, and whether the requests align at all."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import zip_longest

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.lists.sampling import prompt_ids
from saeattr.behaviours.lists.topics import LENGTH_WORDS, Length
from saeattr.errors import UserError
from saeattr.settings import Unequal


def check_swap(
    tokenizer: PreTrainedTokenizerBase,
    topic: str,
    clean_length: Length = "short",
    corrupted_length: Length = "long",
    unequal: Unequal = "refuse",
) -> tuple[int, ...]:
    """The positions of the swapped words in the clean request: of each, from its first changed token to its last.

    It needs no list, so a study can check its topics before it samples.

    Raises:
        UserError: the tokenizer does not know a swapped word; or the requests differ in their number of tokens and that
            is not allowed, elsewhere than at the swapped words, or not at all.
    """
    if clean_length == corrupted_length:
        raise UserError(f"clean and corrupted requests both ask for {clean_length!r}: choose two different lengths")
    clean, corrupted = (prompt_ids(tokenizer, topic, length) for length in (clean_length, corrupted_length))
    sizes = [_sizes(tokenizer, length) for length in (clean_length, corrupted_length)]
    both = zip_longest(sizes[0].items(), sizes[1].items(), fillvalue=("", 0))
    described = ", ".join(f"{a!r} is {_tokens(n)} and {b!r} is {_tokens(m)}" for (a, n), (b, m) in both)
    if len(clean) != len(corrupted) and unequal == "refuse":
        raise UserError(
            f"clean and corrupted prompts do not align: {described} in this tokenizer; use --unequal zero (aligned by "
            "their common beginning and end; features between are patched to zero), or another model"
        )
    changed = _changed(clean, corrupted)
    swaps, partners = (_in_words(where, list(own.values())) for where, own in zip(changed, sizes, strict=True))
    if not swaps or partners is None:
        words = "length words" if len(sizes[0]) > 1 else "length word"
        raise UserError(
            f"clean and corrupted prompts differ at {len(changed[0])} positions, not at the {words} only "
            f"({described} in this tokenizer): use other length words, or another model"
        )
    return swaps


def check_beside(
    tokenizer: PreTrainedTokenizerBase, topic: str, clean_length: Length, corrupted_length: Length
) -> None:
    """Refuse requests that cannot be read side by side, token by token, while a list is written.

    Raises:
        UserError: they have unequally many tokens, or as ``check_swap``.
    """
    sizes = [len(prompt_ids(tokenizer, topic, length)) for length in (clean_length, corrupted_length)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"the requests for {topic} have {sizes[0]} and {sizes[1]} tokens, and features are held at the corrupted "
            "base only while both are read side by side: use --base zero or mean, or a --swap whose requests have "
            "equally many"
        )
    check_swap(tokenizer, topic, clean_length, corrupted_length)


def _sizes(tokenizer: PreTrainedTokenizerBase, length: Length) -> dict[str, int]:
    """How many tokens each swapped word is, with the blank before it."""
    sizes: dict[str, int] = {}
    for word in LENGTH_WORDS[length]:
        ids = tokenizer.encode(f" {word}", add_special_tokens=False)
        # Two unknown words are the same token, so the requests would not differ there.
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
            raise UserError(
                f"' {word}' is an unknown token in this tokenizer: use another --swap, or a model that knows it"
            )
        sizes[f" {word}"] = len(ids)
    return sizes


def _changed(clean: Sequence[int], corrupted: Sequence[int]) -> tuple[list[int], list[int]]:
    """The positions in which either prompt differs from the other."""
    if len(clean) == len(corrupted):
        differing = [at for at, (one, other) in enumerate(zip(clean, corrupted, strict=True)) if one != other]
        return differing, differing
    blocks = difflib.SequenceMatcher(None, clean, corrupted, autojunk=False).get_opcodes()
    changes = [(i, j, k, m) for kind, i, j, k, m in blocks if kind != "equal"]
    ours, theirs = ([at for change in changes for at in range(change[first], change[first + 1])] for first in (0, 2))
    return ours, theirs


def _in_words(changed: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...] | None:
    """The positions from the first to the last change of each word; None where there is a change in no word.

    Words come in order, ``sizes`` tokens long: each begins, at the latest, with the first change that is left.
    """
    positions: list[int] = []
    left = list(changed)
    for size in sizes:
        word = [at for at in left if at < left[0] + size]
        if word:
            positions += range(word[0], word[-1] + 1)
        left = left[len(word) :]
    return None if left else tuple(positions)


def _tokens(number: int) -> str:
    return f"{number} token" if number == 1 else f"{number} tokens"
