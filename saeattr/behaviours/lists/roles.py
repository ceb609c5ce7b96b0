"""What each position of a conversation is for, so that effects can be summed by role."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.chat import chat_text
from saeattr.behaviours.lists.parsing import ListMarkers, ParsedItem, ParsedList
from saeattr.behaviours.lists.topics import LIST_REQUEST, PHRASES, Length, list_request

Role = Literal["bos", "request", "length", "topic", "marker", "item", "blank", "newline", "end", "turn", "other"]

#: ``request`` is the user's text except the swapped words (``length``) and the topic (``topic``); ``marker`` opens
#: an item (a hyphen, a bullet, a number with its mark, and blanks behind it; bare lines have none), ``blank`` and
#: ``newline`` follow it; ``end`` closes the answer; ``turn`` is the markers, role names and line breaks around
#: the turns; ``other`` is what is in the answer but in no item.
ROLES: tuple[Role, ...] = get_args(Role)


def assign_roles(
    parsed: ParsedList,
    markers: ListMarkers,
    *,
    length_positions: Iterable[int] = (),
    topic_positions: Iterable[int] = (),
) -> tuple[Role, ...]:
    """One role for each position of ``parsed.token_ids``."""
    roles: list[Role] = ["other"] * len(parsed.token_ids)
    roles[: parsed.answer_start] = _prompt_roles(parsed.token_ids[: parsed.answer_start], markers)
    for position in topic_positions:
        roles[position] = "topic"
    for position in length_positions:
        roles[position] = "length"
    for item in parsed.items:
        _mark_item(roles, item)
    if parsed.end_position is not None:
        roles[parsed.end_position] = "end"
    return tuple(roles)


def topic_positions(tokenizer: PreTrainedTokenizerBase, topic: str, length: Length) -> tuple[int, ...]:
    """The positions of the prompt whose tokens hold a character of the topic.

    Empty for a tokenizer that cannot say which characters a token stands for (one that is not "fast").
    """
    if not tokenizer.is_fast:
        return ()
    request = list_request(topic, length)
    text = chat_text(tokenizer, request)
    before = LIST_REQUEST.partition("{topic}")[0].format(phrase=PHRASES[length])
    first = text.index(request) + len(before)
    offsets: Any = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return tuple(at for at, (start, end) in enumerate(offsets) if start < first + len(topic) and end > first)


def _prompt_roles(ids: tuple[int, ...], markers: ListMarkers) -> list[Role]:
    """``request`` where the user's text stands, ``turn`` around it."""
    roles: list[Role] = ["turn"] * len(ids)
    for position in markers.turns.text_positions(ids):
        roles[position] = "request"
    return ["bos" if token == markers.bos else role for token, role in zip(ids, roles, strict=True)]


def _mark_item(roles: list[Role], item: ParsedItem) -> None:
    behind = item.stop if item.newline is None else item.newline + 1
    spans: list[tuple[Role, int, int]] = [
        ("marker", item.first, item.start),
        ("item", item.start, item.end),
        ("blank", item.end, item.stop),
        ("newline", item.stop, behind),
    ]
    for role, start, stop in spans:
        for position in range(start, stop):
            roles[position] = role
