"""A word and the one that it calls for (opposites, capitals), in a sentence or after two examples."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.ready.ready import ReadyBehaviour, Row, Source
from saeattr.behaviours.ready.words import fill, is_single, keep_single_pairs
from saeattr.errors import UserError

#: Two examples say what is asked for; a hyphen gives each word its blank.
EXAMPLES = "- {x1}: {y1}\n- {x2}: {y2}\n- {word}:"


class WordRelation(ReadyBehaviour):
    """The answer to a word, against the answer to another word of as many tokens.

    Attributes:
        sentences: with ``{word}``; groups are ``sentence`` and ``examples``.
        both_single: whether the words too must be single tokens; else two words of as many tokens make a pair.
    """

    sentences: ClassVar[tuple[str, ...]]
    both_single: ClassVar[bool] = False

    @abstractmethod
    def words(self) -> Sequence[tuple[str, str]]:
        """Words and what answers them."""

    def source_of(self, group: str, tokenizer: PreTrainedTokenizerBase) -> Source:
        every = self.words()
        if self.both_single:
            known, note = keep_single_pairs(tokenizer, every, f"{self.name}: pairs of words")
        else:
            known = [pair for pair in every if is_single(tokenizer, f" {pair[1]}")]
            note = f"{self.name}: {len(known)} of {len(every)} answers are single tokens"
        by_length: dict[int, list[tuple[str, str]]] = {}
        for pair in known:
            by_length.setdefault(len(tokenizer.encode(f" {pair[0]}", add_special_tokens=False)), []).append(pair)
        paired = {length: own for length, own in by_length.items() if len({answer for _, answer in own}) > 1}
        usable = [(pair, own) for own in paired.values() for pair in own]
        if not usable or len(known) < 4:
            raise UserError(
                f"{self.name} cannot be asked of this model ({note.split(': ', 1)[1]}): at least 4 are needed"
            )
        templates = self.sentences if group == "sentence" else (EXAMPLES,)

        def draw(rng: random.Random) -> Row:
            (word, answer), alike = rng.choice(usable)
            other, wrong = rng.choice([pair for pair in alike if pair[1] != answer])
            shown = [pair for pair in known if not {pair[0], pair[1]} & {word, answer, other, wrong}]
            (x1, y1), (x2, y2) = rng.sample(shown, 2) if len(shown) > 1 else (("", ""), ("", ""))
            fields = {"word": word, "x1": x1, "y1": y1, "x2": x2, "y2": y2}
            template = rng.choice(templates)
            clean, places = fill(template, fields, {"word": "word"})
            corrupted, _ = fill(template, {**fields, "word": other}, {})
            return {
                "clean": clean,
                "corrupted": corrupted,
                "answer": f" {answer}",
                "wrong": f" {wrong}",
                "spans": places,
            }

        return Source(draw, (note,))
