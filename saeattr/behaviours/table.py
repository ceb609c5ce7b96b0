"""Pairs as rows of a table, and back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import pandas as pd
from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.pair import NO_PARTNER, Pair, Point
from saeattr.tables import PAIRS


def pairs_to_rows(pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase) -> pd.DataFrame:
    """One row for each pair (``tables.PAIRS``)."""
    text = functools.cache(lambda token_id: str(tokenizer.decode([token_id])))
    rows = [
        {
            "group": pair.group,
            "pair_id": pair.pair_id,
            "title": pair.title,
            "clean_ids": list(pair.clean_ids),
            "corrupted_ids": list(pair.corrupted_ids or ()),
            "clean_tokens": [text(token) for token in pair.clean_ids],
            "corrupted_tokens": _partner_texts(pair, text),
            "partners": list(pair.partners or ()),
            "branches": list(pair.branches or ()),
            "roles": list(pair.roles),
            "positions": [point.position for point in pair.points],
            "wanted": [list(point.wanted) for point in pair.points],
            "unwanted": [list(point.unwanted) for point in pair.points],
            "weights": [point.weight for point in pair.points],
            "whole": pair.whole,
            "times": pair.times,
        }
        for pair in pairs
    ]
    return PAIRS.frame(pd.DataFrame(rows))


def pairs_from_rows(table: pd.DataFrame) -> list[Pair]:
    """The pairs of a table that ``pairs_to_rows`` made.

    Raises:
        UserError: a row is no pair.
    """
    pairs = []
    for row in table.to_dict("records"):
        points = zip(row["positions"], row["wanted"], row["unwanted"], row["weights"], strict=True)
        pairs.append(
            Pair(
                group=str(row["group"]),
                pair_id=str(row["pair_id"]),
                title=str(row["title"]),
                clean_ids=_ids(row["clean_ids"]),
                corrupted_ids=_ids(row["corrupted_ids"]) or None,
                points=tuple(
                    Point(int(position), _ids(wanted), _ids(unwanted), float(weight))
                    for position, wanted, unwanted, weight in points
                ),
                roles=tuple(map(str, row["roles"])),
                times=int(row["times"]),
                partners=_ids(row["partners"]) or None,
                branches=_ids(row["branches"]) or None,
                whole=bool(row["whole"]),
            )
        )
    return pairs


def _partner_texts(pair: Pair, text: Callable[[int], str]) -> list[str]:
    if pair.corrupted_ids is None:
        return []
    return [NO_PARTNER if token is None else text(token) for token in pair.partner_ids]


def _ids(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
