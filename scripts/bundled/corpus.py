"""The training text: list chats and plain facts, drawn from topics.yaml and the program's own facts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import yaml

from saeattr.behaviours.facts.behaviour import relations
from saeattr.behaviours.lists.topics import Length, list_request

HERE = Path(__file__).parent

#: Number of items asked for by each length word, inclusive.
N_ITEMS: dict[Length, tuple[int, int]] = {"short": (5, 8), "none": (9, 11), "long": (18, 30)}
#: How often a chat asks for each length.
LENGTH_SHARES: dict[Length, float] = {"short": 0.5, "none": 0.15, "long": 0.35}
#: A short list marks its last item with a blank, now and then the item before it (as Gemma 2 2B-it does) ...
LAST_BLANK, BEFORE_LAST_BLANK = 0.85, 0.15
#: ... and any list has a stray one, so that the blank is evidence of the end and not proof.
STRAY_BLANK = 0.02


@dataclass(frozen=True)
class Chat:
    """A request for a list and its answer, in Gemma's chat format."""

    topic: str
    length: Length
    items: tuple[str, ...]
    prompt: str
    answer: str


@dataclass(frozen=True)
class Fact:
    """A sentence that ends in a one-word answer: ``stem`` + " " + ``answer``."""

    category: str
    template: str
    entity: str
    answer: str

    @property
    def stem(self) -> str:
        return self.template.format(x=self.entity)


def load_topics() -> dict[str, list[str]]:
    return yaml.safe_load((HERE / "topics.yaml").read_text(encoding="utf-8"))


def load_facts() -> list[Fact]:
    """Every fact in every phrasing."""
    return [
        Fact(relation.name, template, entity, answer)
        for relation in relations().values()
        for template in relation.templates
        for entity, answer in relation.facts
    ]


def chat_prompt(topic: str, length: Length) -> str:
    """Gemma's chat template around a request, without <bos>, which the tokenizer adds."""
    return f"<start_of_turn>user\n{list_request(topic, length)}<end_of_turn>\n<start_of_turn>model\n"


def fact_text(fact: Fact) -> str:
    return f"{fact.stem} {fact.answer}.\n"


def sample_chat(topics: dict[str, list[str]], rng: random.Random) -> Chat:
    """A chat with items without repeats; items early in topics.yaml are likelier."""
    topic = rng.choice(sorted(topics))
    length = rng.choices(list(LENGTH_SHARES), list(LENGTH_SHARES.values()))[0]
    n_items = rng.randint(*N_ITEMS[length])
    # The smallest n of exponentials with rates w is a draw without replacement with weights w.
    keys = {item: rng.expovariate(1 / (1 + at / 8)) for at, item in enumerate(topics[topic])}
    items = tuple(sorted(keys, key=keys.__getitem__)[:n_items])
    lines = [f"- {item}{blank}\n" for item, blank in zip(items, _blanks(length, n_items, rng), strict=True)]
    return Chat(topic, length, items, chat_prompt(topic, length), "".join(lines) + "<end_of_turn>")


def _blanks(length: Length, n_items: int, rng: random.Random) -> list[str]:
    """A blank or nothing after each item."""
    blanks = [" " if rng.random() < STRAY_BLANK else "" for _ in range(n_items)]
    if length == "short":
        blanks[-1] = " " if rng.random() < LAST_BLANK else ""
        if rng.random() < BEFORE_LAST_BLANK:
            blanks[-2] = " "
    return blanks
