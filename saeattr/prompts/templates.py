"""The requests put to the model, and the words in them that a pair swaps."""

from __future__ import annotations

from typing import Literal

Length = Literal["short", "long", "none"]

#: The request of the published study on Gemma 2 2B-it; ``{length}`` is " short", " long" or nothing.
LIST_REQUEST = "Provide me with a{length} list of {topic}. Just provide the names, no need for any other information."

LENGTH_WORDS: dict[Length, str] = {"short": " short", "long": " long", "none": ""}


def list_request(topic: str, length: Length = "short") -> str:
    """The user's turn that asks for a list of ``topic``."""
    return LIST_REQUEST.format(length=LENGTH_WORDS[length], topic=topic)
