"""The bundled topics, what counts as a topic, and the request put to the model."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

from saeattr.errors import UserError
from saeattr.settings import Swap

TOPICS: tuple[str, ...] = (
    "animals",
    "books",
    "capital cities",
    "car brands",
    "cities",
    "colors",
    "companies",
    "countries",
    "famous scientists",
    "famous writers",
    "fruits",
    "inventions",
    "languages",
    "mountains",
    "movies",
    "oceans and seas",
    "rivers",
    "sports",
    "TV shows",
    "flowers",
    "trees",
    "vegetables",
    "video games",
    "birds",
    "musical instruments",
    "programming languages",
)

MAX_TOPIC_CHARS = 80
_BUNDLED = {topic.casefold(): topic for topic in TOPICS}


def resolve_topics(names: Sequence[str]) -> tuple[str, ...]:
    """The topics a study runs on, each once, in the order given.

    ``all`` stands for every bundled topic. A bundled topic may be written in any case; any other topic is used as it
    is, with white space folded.

    Raises:
        UserError: there is no topic, or one is blank, too long, or holds control characters or markers.
    """
    topics: dict[str, str] = {}
    for name in names:
        for topic in TOPICS if name.strip().casefold() == "all" else (_clean_topic(name),):
            topics.setdefault(topic.casefold(), topic)
    if not topics:
        raise UserError("no topic was given: name one or more, for example cities, or all for the bundled ones")
    return tuple(topics.values())


def near_miss(topic: str) -> str | None:
    """The bundled topic that ``topic`` is probably a misspelling of; None for a bundled topic or a far one."""
    folded = " ".join(topic.split()).casefold()
    if folded in _BUNDLED:
        return None
    close = difflib.get_close_matches(folded, list(_BUNDLED), n=1, cutoff=0.8)
    return _BUNDLED[close[0]] if close else None


def _clean_topic(name: str) -> str:
    topic = name.strip()
    shown = repr(topic if len(topic) <= 40 else topic[:40] + "...")
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") and char != "\t" for char in topic):
        raise UserError(f"the topic {shown} holds a line break or control character: write it on one line")
    topic = " ".join(topic.split())
    if not topic:
        raise UserError("a topic is blank: name one, for example cities, or all for the bundled ones")
    if len(topic) > MAX_TOPIC_CHARS:
        raise UserError(
            f"the topic {shown} has {len(topic)} characters: at most {MAX_TOPIC_CHARS} are allowed, shorten it"
        )
    # A topic that spells a turn marker would end the user's turn inside the request.
    marker = re.search(r"<[^<>]*>", topic)
    if marker:
        raise UserError(f"the topic {shown} holds the marker {marker[0]!r}: write a topic without <...>")
    return _BUNDLED.get(topic.casefold(), topic)


Length = Literal["short", "long", "none", "few", "many"]

#: The request of the published study on Gemma 2 2B-it.
LIST_REQUEST = "Provide me with a {phrase} {topic}. Just provide the names, no need for any other information."

#: How long a list is asked for. ``few`` and ``many`` are that study's second pair of requests, in its own words.
PHRASES: dict[Length, str] = {
    "short": "short list of",
    "long": "long list of",
    "none": "list of",
    "few": "short list with a few",
    "many": "long list with a many",
}

#: The words of each phrase that differ in its partner.
LENGTH_WORDS: dict[Length, tuple[str, ...]] = {
    "short": ("short",),
    "long": ("long",),
    "none": (),
    "few": ("short", "few"),
    "many": ("long", "many"),
}

#: The requests as the command line and tables of statistics name them.
REQUEST_WORDS: dict[Length, str] = {
    "short": "short",
    "long": "long",
    "none": "plain",
    "few": "few",
    "many": "many",
}

#: The clean and the corrupted request of each swap.
SWAPS: dict[Swap, tuple[Length, Length]] = {"length": ("short", "long"), "few": ("few", "many")}


def list_request(topic: str, length: Length = "short") -> str:
    """The user's turn that asks for a list of ``topic``."""
    return LIST_REQUEST.format(phrase=PHRASES[length], topic=topic)


def find_length(word: str) -> Length:
    """The request that a word names; ``plain`` is the one without a word of length.

    Raises:
        UserError: there is no such request.
    """
    for length in LENGTH_WORDS:
        if word in (length, REQUEST_WORDS[length]):
            return length
    raise UserError(f"{word!r} is not a request: choose one of {', '.join(REQUEST_WORDS.values())}")


def asked_length(request: str) -> Length | None:
    """What length of list a request asks for, by the words around ``list``; None where it asks for no list.

    ``list of short stories`` asks for a plain list: what counts stands before ``list``, and "with a few" behind it.
    """
    asked = re.search(r"(?P<before>[^.!?\n]*)\blist\b(?P<behind>\s+with\s+a\s+(few|many)\b)?", request, re.IGNORECASE)
    if asked is None:
        return None
    words = re.findall(r"\b(short|long)\b", asked["before"].casefold())
    if not words:
        return "none"
    if asked["behind"]:
        return "few" if words[-1] == "short" else "many"
    return "short" if words[-1] == "short" else "long"
