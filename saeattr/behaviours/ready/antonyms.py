"""Antonyms: "The opposite of hot is" goes on with " cold"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from saeattr.behaviours.ready.relations import WordRelation

#: Each is the other's opposite.
OPPOSITES = (
    ("hot", "cold"),
    ("big", "small"),
    ("long", "short"),
    ("high", "low"),
    ("fast", "slow"),
    ("old", "young"),
    ("rich", "poor"),
    ("strong", "weak"),
    ("hard", "soft"),
    ("light", "dark"),
    ("wet", "dry"),
    ("open", "closed"),
    ("full", "empty"),
    ("happy", "sad"),
    ("good", "bad"),
    ("right", "wrong"),
    ("early", "late"),
    ("first", "last"),
    ("up", "down"),
    ("left", "right"),
    ("inside", "outside"),
    ("above", "below"),
    ("before", "after"),
    ("black", "white"),
    ("day", "night"),
    ("love", "hate"),
    ("buy", "sell"),
    ("win", "lose"),
    ("begin", "end"),
    ("north", "south"),
    ("east", "west"),
    ("male", "female"),
    ("public", "private"),
    ("thick", "thin"),
    ("wide", "narrow"),
    ("deep", "shallow"),
    ("loud", "quiet"),
    ("clean", "dirty"),
    ("safe", "dangerous"),
    ("true", "false"),
)


class Antonyms(WordRelation):
    """The word that says the contrary."""

    name = "antonyms"
    help = "antonyms: the opposite of a word; groups are a sentence that asks for it, and two examples"
    literature = (
        "Todd et al. 2023 (arXiv 2310.15213): after examples, few heads of middle layers carry a vector for the task "
        "antonym that works in other prompts too (function vectors)."
    )
    group_help: ClassVar = {
        "sentence": "The opposite of hot is",
        "examples": "- big: small (two examples), then - hot:",
    }
    default_groups = ("sentence", "examples")
    sentences = (
        "The opposite of {word} is",
        "A word that means the opposite of {word} is",
        "The reverse of {word} is called",
        "Children learn that the contrary of {word} is",
    )
    both_single = True
    example: ClassVar = {
        "clean": "The opposite of hot is",
        "corrupted": "The opposite of big is",
        "answer": " cold",
        "wrong": " small",
        "spans": {"word": "hot"},
    }

    def words(self) -> Sequence[tuple[str, str]]:
        # A word with two opposites ("right") has no one answer.
        both = [*OPPOSITES, *((second, first) for first, second in OPPOSITES)]
        asked = [word for word, _ in both]
        return [pair for pair in both if asked.count(pair[0]) == 1]


BEHAVIOUR = Antonyms()
