"""Word-level tokenizers that write years in three ways: by century and year, digit by digit, and in threes."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Iterator
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from saeattr.behaviours.ready import (
    agreement,
    antonyms,
    country_capital,
    docstring,
    greater_than,
    ioi,
    pronoun,
    refusal,
)
from tests.behaviours.tokenizers import FAMILIES

NUMBERS = {"century and year": r" ?\d\d|\d", "digits": r" |\d", "threes": r" |\d{1,3}"}
MODULES = (agreement, antonyms, country_capital, docstring, greater_than, ioi, pronoun, refusal)


def every_word() -> set[str]:
    """Every word of every constant of the ready behaviours."""
    constants = [getattr(module, name) for module in MODULES for name in dir(module) if name.isupper()]
    texts = " ".join(_texts([*constants, [module.BEHAVIOUR.example for module in MODULES]]))
    sentences = " ".join(_texts([antonyms.BEHAVIOUR.sentences, country_capital.BEHAVIOUR.sentences]))
    kept = set(string.ascii_letters + "'")
    words = "".join(char if char in kept else " " for char in f"{texts} {sentences}").split()
    return {*words, "her", "his", "she", "he"}


def word_tokenizer(
    words: Iterable[str], numbers: str = "century and year", *, chat: bool = True
) -> PreTrainedTokenizerFast:
    """Each word is a token, with the blank before it and without; others are unknown."""
    pieces = ["<unk>", "<bos>", *map(chr, range(32, 127)), "\n"]
    pieces += [form for word in sorted(set(words)) for form in (word, f" {word}")]
    if numbers == "century and year":
        pieces += [form for number in range(100) for form in (f"{number:02d}", f" {number:02d}")]
    if numbers == "threes":
        pieces += ["".join(digits) for n in (2, 3) for digits in itertools.product(string.digits, repeat=n)]
    backend = Tokenizer(models.WordLevel({piece: at for at, piece in enumerate(dict.fromkeys(pieces))}, "<unk>"))
    split = Regex(rf" ?[A-Za-z']+|{NUMBERS[numbers]}|\n| |[^A-Za-z0-9\s]")
    backend.pre_tokenizer = pre_tokenizers.Split(split, "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<bos>")
    tokenizer.chat_template = FAMILIES["chatml"].template if chat else None
    return tokenizer


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([*value.keys(), *value.values()])
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
