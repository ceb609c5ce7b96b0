"""Years: "The war lasted from the year 1732 to the year 17" goes on with a number greater than 32."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.ready.ready import ReadyBehaviour, Row, Source
from saeattr.behaviours.ready.words import fill, is_single, listed
from saeattr.errors import UserError

NOUNS = listed(
    """
    war siege reign trial drought voyage famine strike project festival campaign dispute expedition building journey
    rebellion contract search survey experiment alliance quarrel trade ban truce debate school company court service
    """
)
CENTURIES = tuple(range(11, 18))
#: A year with the century before it, and what is asked of the model: the rest of a later year.
TEMPLATES = {
    "lasted": "The {noun} lasted from the year {century}{year} to the year {again}",
    "ended": "The {noun} began in {century}{year} and came to its end in {again}",
}
#: The corrupted year of Hanna et al.: every other number is greater.
FIRST = "01"

YEARS = tuple(f"{year:02d}" for year in range(100))


class GreaterThan(ReadyBehaviour):
    """A time ends later than it begins."""

    name = "greater-than"
    help = "years: what began in 1732 ends in 17.., a number greater than 32; groups are sentences"
    literature = (
        "Hanna et al. 2023 (arXiv 2305.00586): in GPT-2 small, heads of layers 5 to 9 attend to the first year and "
        "MLPs 8 to 11 raise all greater numbers; the greater years together are likelier by 0.82 than the others."
    )
    group_help: ClassVar = {
        "lasted": "The war lasted from the year 1732 to the year 17",
        "ended": "The war began in 1732 and came to its end in 17",
    }
    default_groups = ("lasted",)
    example: ClassVar = {
        "clean": "The war lasted from the year 1732 to the year 17",
        "corrupted": "The war lasted from the year 1701 to the year 17",
        "answer": list(YEARS[33:]),
        "wrong": list(YEARS[:33]),
        "spans": {"year": "32"},
    }

    def source_of(self, group: str, tokenizer: PreTrainedTokenizerBase) -> Source:
        digits = splits_into_digits(tokenizer)
        split = dict.fromkeys(map(str, CENTURIES), YEARS) if digits else split_years(tokenizer)
        starts = YEARS[10:90] if digits else YEARS[2:99]
        years = [(century, year) for century, own in split.items() for year in own if year in starts]
        total = len(CENTURIES) * len(starts)
        note = f"{self.name}: {len(years)} of {total} years are a token of the century and one of two digits"
        if digits:
            note = (
                f"{self.name}: this tokenizer writes years digit by digit, so the next digit is asked for: answer and "
                "wrong are the tens digits greater and smaller than the first year's; the same digit is in neither"
            )
        if not years:
            raise UserError(
                f"{self.name} cannot be asked of this model: its tokenizer splits ' 1732' into "
                f"{tokenizer.tokenize(' 1732')}, and a year must be a century and two digits, or single digits"
            )

        def draw(rng: random.Random) -> Row:
            century, year = rng.choice(years)
            words = {"noun": rng.choice(NOUNS), "century": century, "year": year, "again": century}
            clean, places = fill(TEMPLATES[group], words, {"year": "year"})
            corrupted, _ = fill(TEMPLATES[group], {**words, "year": FIRST}, {})
            answer, wrong = tens_after(year) if digits else years_after(year, split[century])
            return {"clean": clean, "corrupted": corrupted, "answer": answer, "wrong": wrong, "spans": places}

        return Source(draw, (note,))


def years_after(year: str, known: Sequence[str]) -> tuple[list[str], list[str]]:
    """The two-digit numbers greater than ``year``, and the others."""
    return [other for other in known if other > year], [other for other in known if other <= year]


def tens_after(year: str) -> tuple[list[str], list[str]]:
    """Tens digits with which any number is greater than ``year``, and those with which any is smaller."""
    tens = int(year[0])
    return [str(digit) for digit in range(tens + 1, 10)], [str(digit) for digit in range(tens)]


def splits_into_digits(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether each digit of a year is a token of its own, alike within a year and behind its century."""
    digits = [_ids(tokenizer, digit) for digit in "1732"]
    if any(len(ids) != 1 for ids in digits):
        return False
    year, century = _ids(tokenizer, " 1732"), _ids(tokenizer, " 17")
    return len(century) >= 2 and list(year) == [*century, *digits[2], *digits[3]]


def split_years(tokenizer: PreTrainedTokenizerBase) -> dict[str, tuple[str, ...]]:
    """By century the years that are its token and one of two digits.

    GPT-2's tokenizer has some years whole, such as 1700: an answer that would make one of them is no answer there. A
    century without ``FIRST`` is left out.
    """
    known = [year for year in YEARS if is_single(tokenizer, year)]
    found = {}
    for century in map(str, CENTURIES):
        head = _ids(tokenizer, f" {century}")
        own = [year for year in known if _ids(tokenizer, f" {century}{year}") == [*head, *_ids(tokenizer, year)]]
        if FIRST in own and is_single(tokenizer, f" {century}"):
            found[century] = tuple(own)
    return found


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> Sequence[int]:
    return tokenizer.encode(text, add_special_tokens=False)


BEHAVIOUR = GreaterThan()
