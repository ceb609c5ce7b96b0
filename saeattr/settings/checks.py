"""What a value must be beyond its type: a temperature that numbers can bear, a name that a file can have."""

from __future__ import annotations

import os
import re

#: In float32 a logit divided by less is infinite, and infinite less infinite is no number.
COLDEST, HOTTEST = 0.001, 10
#: Bytes of a name, and of a path, that no usual system goes beyond.
LONGEST_NAME, LONGEST_PATH = 255, 4095


def is_temperature(value: float) -> bool:
    """Whether lists can be sampled at it: 0, which takes the likeliest token, or ``COLDEST`` to ``HOTTEST``."""
    return value == 0 or COLDEST <= value <= HOTTEST


def check_temperature(value: float) -> float:
    """The temperature itself.

    Raises:
        ValueError: it is none (``is_temperature``).
    """
    if not is_temperature(value):
        raise ValueError(f"give 0 (the likeliest token) or a number from {COLDEST:g} to {HOTTEST:g}")
    return value


def check_place(text: str) -> str:
    """What may be a path, or a name of something elsewhere; several with commas between.

    Raises:
        ValueError: no file can have the name.
    """
    try:
        size = len(os.fsencode(text))
        longest = max(len(os.fsencode(part)) for part in re.split("[/,]", text))
    except UnicodeEncodeError as error:
        raise ValueError("it holds characters that no name has") from error
    if "\0" in text:
        raise ValueError("it holds characters that no name has")
    if longest > LONGEST_NAME or size > LONGEST_PATH:
        raise ValueError(f"it is longer than any name of a file ({LONGEST_NAME} bytes)")
    if text.startswith("~") and os.path.expanduser(text) == text:
        raise ValueError(f"there is no user {text.partition('/')[0]} here: write the folder's own path")
    return text
