"""How the items of a list open: with a hyphen, another bullet, a number, or nothing; found for each list."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Format = Literal["hyphen", "star", "bullet", "numbered", "bare"]
#: Fewer bare lines are an answer in prose.
FEWEST_BARE = 2

#: A number of an item, such as 12, is at most so many tokens with the mark behind it.
_LONGEST_NUMBER = 5
#: Bare lines that are no items: those that end with a colon, and sentences of so many words.
_SENTENCE_WORDS = 4

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Opening:
    """How a line opens.

    Attributes:
        first: the position of its first token but blanks: its marker's, or its name's where there is no marker.
        start: where the name begins.
        number: of a numbered line.
    """

    format: Format
    first: int
    start: int
    number: int | None = None


def read_opening(
    ids: Sequence[int], line: range, symbols: Mapping[int, Format], blanks: Collection[int], decode: Decode
) -> Opening | None:
    """How the line at positions ``line`` opens; None if it can be no item.

    A marker is one of ``symbols`` (token id to format; ``**`` is no marker, but bold type), or a number with ``.`` or
    ``)`` behind it and no further digit (3.5 is none). It may be indented, and a name must follow it, more than hyphens
    and stars. A line without a marker is bare; it is no item if it holds neither letter nor digit, ends with a colon
    (a heading), or ends with ``.``, ``!`` or ``?`` after four words or more (a sentence).
    """
    inside = [at for at in line if ids[at] not in blanks]
    if not inside:
        return None
    first = inside[0]
    text = decode([ids[at] for at in line]).strip()
    if not text.strip("-*_ "):
        return None
    found = _symbol(ids, inside, symbols) or _number(ids, first, line.stop, decode)
    if found is None:
        return Opening("bare", first, first) if _may_be_item(text) else None
    form, behind, number = found
    start = next((at for at in inside if at >= behind), None)
    return None if start is None else Opening(form, first, start, number)


def find_format(openings: Iterable[Opening]) -> Format | None:
    """The format of a list: that of most of its lines; None if they are no list.

    In a tie a marker goes before bare lines, and among markers the one that comes first. A single bare line is no list.
    """
    counts: Counter[Format] = Counter(opening.format for opening in openings)
    bare = counts.pop("bare", 0)
    marked = counts.most_common(1)
    if marked and marked[0][1] >= bare:
        return marked[0][0]
    return "bare" if bare >= FEWEST_BARE else None


def _symbol(
    ids: Sequence[int], inside: Sequence[int], symbols: Mapping[int, Format]
) -> tuple[Format, int, int | None] | None:
    first = inside[0]
    form = symbols.get(ids[first])
    bold = form == "star" and inside[1:2] == [first + 1] and ids[first + 1] == ids[first]
    return None if form is None or bold else (form, first + 1, None)


def _number(ids: Sequence[int], first: int, stop: int, decode: Decode) -> tuple[Format, int, int | None] | None:
    for end in range(first + 1, min(stop, first + _LONGEST_NUMBER) + 1):
        text = decode(ids[first:end]).strip()
        found = re.fullmatch(r"(\d+)[.)]", text)
        if found and not re.match(r"\d+[.)]\d", decode(ids[first : min(stop, end + 1)]).strip()):
            return "numbered", end, int(found[1])
        if not text.isdecimal():
            break
    return None


def _may_be_item(text: str) -> bool:
    sentence = text.endswith((".", "!", "?")) and len(text.split()) >= _SENTENCE_WORDS
    return any(map(str.isalnum, text)) and not text.endswith(":") and not sentence
