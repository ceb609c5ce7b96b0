"""Where a model decides whether its list goes on, and between which tokens: by the list's format, and by how it ends.

A list that ends in a line break (or is cut off) is read at the line break after each item: there the end of the turn
stands against what would open the next item in the list's own format. A list whose turn is ended directly behind its
last item was not decided at a line break, so it is read at the last token of each item's line: there the end of the
turn stands against the line break.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.lists.formats import Format
from saeattr.behaviours.lists.parsing import ListMarkers, ParsedItem, ParsedList
from saeattr.behaviours.pair import Point

#: What the end of the turn is contrasted with, as labels say it.
LINE_BREAK = "line break"
OPENERS: dict[Format, str] = {
    "hyphen": "-",
    "star": "*",
    "bullet": "\u2022",
    "numbered": "the next number",
    "bare": "an item's first token",
}


def decision_positions(parsed: ParsedList) -> tuple[int, ...]:
    """Where a complete item has been read and the model decides whether another follows, if a token follows at all."""
    items = parsed.complete_items
    if parsed.ends_in_item:
        return tuple(item.stop - 1 for item in items)
    breaks = (item.newline for item in items)
    return tuple(at for at in breaks if at is not None and at + 1 < len(parsed.token_ids))


def decision_points(
    tokenizer: PreTrainedTokenizerBase,
    parsed: ParsedList,
    markers: ListMarkers,
    contrast: str | tuple[int, int] = "end-vs-continue",
) -> tuple[Point, ...]:
    """Where a list's metric is read, and the tokens that it contrasts there.

    ``end-vs-continue``, or two token ids of one's own: at ``decision_positions``. ``blank-vs-newline``: at the last
    token of each complete item that another token follows.
    """
    if contrast == "blank-vs-newline":
        lasts = (item.last for item in parsed.complete_items)
        read = (last for last in lasts if last + 1 < len(parsed.token_ids))
        return tuple(Point(last, (markers.blank,), (markers.newline,)) for last in read)
    positions = decision_positions(parsed)
    if isinstance(contrast, tuple):
        wanted, unwanted = contrast
        return tuple(Point(position, (wanted,), (unwanted,)) for position in positions)
    going_on = _going_on(tokenizer, parsed, markers)
    points = zip(positions, going_on, strict=False)
    return tuple(Point(position, (markers.end_of_turn,), tokens) for position, tokens in points)


def contrasted(parsed: ParsedList) -> str:
    """What stands against the end of the turn in a list, in words."""
    assert parsed.format is not None
    return LINE_BREAK if parsed.ends_in_item else OPENERS[parsed.format]


def end_label(end_text: str, contrasts: Iterable[str]) -> str:
    """The label of end-vs-continue over lists, ``logit(<end_of_turn>) - logit(-)``: the commonest contrast first."""
    words = [word for word, _ in Counter(contrasts).most_common()] or [OPENERS["hyphen"]]
    return f"logit({end_text}) - logit({' or '.join(words)})"


@dataclass
class Tally:
    """Some lists in a line: how many, in which formats, with how many items, and what stands out."""

    n_lists: int = 0
    n_items: int = 0
    unbroken: int = 0
    cut_off: int = 0
    formats: Counter[str] = field(default_factory=Counter)

    def add(self, parsed: ParsedList) -> None:
        self.n_lists += 1
        self.n_items += len(parsed.complete_items)
        self.unbroken += parsed.ends_in_item
        self.cut_off += parsed.cut_off
        self.formats[parsed.format or "no list"] += 1

    def __str__(self) -> str:
        listed = ", ".join(f"{number} {form}" for form, number in self.formats.most_common())
        line = f"{self.n_lists} list{'' if self.n_lists == 1 else 's'} ({listed}) of "
        line += f"{self.n_items / max(1, self.n_lists):.1f} items"
        line += f"; {self.unbroken} without a line break at the end" if self.unbroken else ""
        return line + (f"; {self.cut_off} without an end" if self.cut_off else "")


def _going_on(tokenizer: PreTrainedTokenizerBase, parsed: ParsedList, markers: ListMarkers) -> list[tuple[int, ...]]:
    """The tokens with which the list would go on behind each complete item.

    A hyphen or another bullet; the next number's first token; in bare lines every token that opens an item of the
    list, at each item the same: no single one stands for all items that could follow.
    """
    items, ids = parsed.complete_items, parsed.token_ids
    if parsed.ends_in_item:
        breaks = dict.fromkeys(ids[item.stop] for item in items if item.newline is not None)
        return [tuple(breaks) or (markers.newline,)] * len(items)
    if parsed.format == "bare":
        return [tuple(dict.fromkeys(ids[item.first] for item in parsed.items))] * len(items)
    if parsed.format == "numbered":
        following = [ids[item.first] for item in parsed.items[1:]]
        return [(token,) for token in (*following, _next_number(tokenizer, parsed.items, markers))][: len(items)]
    return [(ids[item.first],) for item in items]


def _next_number(tokenizer: PreTrainedTokenizerBase, items: tuple[ParsedItem, ...], markers: ListMarkers) -> int:
    """The first token of the number behind the last one; in a list that repeats its number (1. 1. 1.), the same."""
    numbers = [item.number or 0 for item in items[-2:]]
    following = numbers[-1] + (0 if len(numbers) > 1 and numbers[0] == numbers[1] else 1)
    # Behind a line break: a tokenizer may put a mark of its own before a text.
    ids = tokenizer.encode(f"\n{following}", add_special_tokens=False)
    return ids[1] if ids[0] == markers.newline else tokenizer.encode(str(following), add_special_tokens=False)[0]
