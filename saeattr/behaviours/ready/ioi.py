"""Indirect objects: "When Mary and John went to the store, John gave a drink to" goes on with " Mary"."""

from __future__ import annotations

import random
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.ready.ready import ReadyBehaviour, Row, Source
from saeattr.behaviours.ready.words import fill, keep_singles, listed

NAMES = listed(
    """
    Mary John Anna Paul Lisa Mark Sarah David Laura Peter Emma James Julia Robert Karen Michael Alice Thomas Jane
    Daniel Susan George Helen Simon Ruth Martin Kate Adam Nancy Frank Linda Henry Claire Kevin Diana Brian Grace
    Steven Maria Andrew Amy Eric Rachel Jack Sophie Ryan Olivia Scott Emily Jason Rose Patrick Lucy Oliver Carol
    Victor Alex Chris Joe Tom Bill Bob Dan Sam Max Leo Ben Luke Ian Carl Tim Jim Ken Ron Roger Tony Alan Keith Louis
    Oscar
    """
)

TEMPLATES = (
    "When {A} and {B} went to the {place}, {again} gave a {thing} to",
    "After {A} and {B} had met at the {place}, {again} handed a {thing} to",
    "While {A} and {B} were waiting at the {place}, {again} showed a {thing} to",
    "On Monday {A} and {B} walked to the {place}, and {again} brought a {thing} to",
    "Since {A} and {B} had an hour at the {place}, {again} offered a {thing} to",
    "In the evening {A} and {B} sat down in the {place}, where {again} passed a {thing} to",
    "Before {A} and {B} left the {place}, {again} sold a {thing} to",
    "Last week {A} and {B} came back from the {place}, and {again} sent a {thing} to",
)
PLACES = listed("store park school office station library museum garden hospital market hotel church")
THINGS = listed("book ring drink letter ticket key map picture flower coin present newspaper")

#: The names of the three mentions, by field, when the indirect object comes first and when it comes second.
ORDERS = {"abba": {"A": "IO", "B": "S1", "again": "S2"}, "baba": {"A": "S1", "B": "IO", "again": "S2"}}


class IndirectObject(ReadyBehaviour):
    """Who is given something: the one of two who does not give it."""

    name = "ioi"
    help = "indirect objects: of two people one gives, so the other is given; groups are orders of the names"
    literature = (
        "Wang et al. 2022 (arXiv 2211.00593) find 26 heads of GPT-2 small in seven classes: heads that notice the "
        "repeated name make name movers in later layers attend to the other one; in the mean its logit is 3.56 higher."
    )
    group_help: ClassVar = {
        "abba": "the indirect object is named first; corrupted: the other of the two gives",
        "baba": "the indirect object is named second; corrupted: the other of the two gives",
        "abba-abc": "as abba; corrupted: a third person gives",
        "baba-abc": "as baba; corrupted: a third person gives",
    }
    default_groups = ("abba", "baba")
    example: ClassVar = {
        "clean": "When Mary and John went to the store, John gave a drink to",
        "corrupted": "When Mary and John went to the store, Mary gave a drink to",
        "answer": " Mary",
        "wrong": " John",
        "spans": {"IO": "Mary", "S1": [14, 18], "S2": [38, 42]},
    }

    def source_of(self, group: str, tokenizer: PreTrainedTokenizerBase) -> Source:
        names, note = keep_singles(tokenizer, NAMES, f"{self.name}: names", least=3)
        order, _, third = group.partition("-")
        spans = ORDERS[order]

        def draw(rng: random.Random) -> Row:
            io, subject, other = rng.sample(names, 3)
            said = {"IO": io, "S1": subject, "S2": subject}
            words = {field: said[name] for field, name in spans.items()}
            words |= {"place": rng.choice(PLACES), "thing": rng.choice(THINGS)}
            template = rng.choice(TEMPLATES)
            clean, places = fill(template, words, spans)
            corrupted, _ = fill(template, {**words, "again": other if third else io}, spans)
            return {"clean": clean, "corrupted": corrupted, "answer": f" {io}", "wrong": f" {subject}", "spans": places}

        return Source(draw, (note,))


BEHAVIOUR = IndirectObject()
