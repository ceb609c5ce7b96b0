"""Sampled lists as rows of a table, and back."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from saeattr.behaviours.lists.parsing import Decode, ListMarkers, parse_list
from saeattr.behaviours.lists.sampling import SampledList
from saeattr.behaviours.lists.topics import LENGTH_WORDS
from saeattr.errors import UserError
from saeattr.tables import LISTS

#: What follows from the token ids and is not read back.
_DERIVED = ("text", "items", "item_spans", "format", "ended")

_INTS = pa.list_(pa.int64())
#: The columns in Arrow: parts of one table have the same types, also where no list of a part has an item.
ARROW = pa.schema(
    [
        ("topic", pa.string()),
        ("list_id", pa.string()),
        ("length", pa.string()),
        ("request", pa.string()),
        ("text", pa.string()),
        ("token_ids", _INTS),
        ("prompt_length", pa.int64()),
        ("items", pa.list_(pa.string())),
        ("item_spans", pa.list_(_INTS)),
        ("format", pa.string()),
        ("ended", pa.bool_()),
        ("temperature", pa.float64()),
        ("top_p", pa.float64()),
        ("seed", pa.int64()),
        ("source", pa.string()),
    ]
)


def lists_to_arrow(lists: Sequence[SampledList]) -> pa.Table:
    """``lists_to_rows`` as a part of a larger table."""
    return pa.Table.from_pandas(lists_to_rows(lists), schema=ARROW, preserve_index=False).replace_schema_metadata(None)


def lists_to_rows(lists: Sequence[SampledList]) -> pd.DataFrame:
    """One row for each list (``tables.LISTS``).

    ``text`` is the answer; ``items`` and ``item_spans`` ([start, end) token positions) are of its complete items.
    """
    rows = [
        {
            "topic": sampled.topic,
            "list_id": sampled.list_id,
            "length": sampled.length,
            "request": sampled.request,
            "text": sampled.parsed.text,
            "token_ids": list(sampled.token_ids),
            "prompt_length": sampled.prompt_length,
            "items": [item.text for item in sampled.parsed.complete_items],
            "item_spans": [[item.start, item.end] for item in sampled.parsed.complete_items],
            "format": sampled.parsed.format or "",
            "ended": sampled.parsed.ended,
            "temperature": sampled.temperature,
            "top_p": sampled.top_p,
            "seed": sampled.seed,
            "source": sampled.source,
        }
        for sampled in lists
    ]
    return LISTS.frame(pd.DataFrame(rows))


def lists_from_rows(table: pd.DataFrame, markers: ListMarkers, decode: Decode) -> list[SampledList]:
    """The lists of a table that ``lists_to_rows`` made; items are read anew from the token ids.

    Raises:
        UserError: a column is missing or of another type, or a length is none of the known ones.
    """
    read_back = [name for name in LISTS.names if name not in _DERIVED]
    LISTS.check(pa.Schema.from_pandas(table), "the table of lists", read_back)
    unknown = sorted(set(map(str, table["length"])) - set(LENGTH_WORDS))
    if unknown:
        allowed = ", ".join(LENGTH_WORDS)
        raise UserError(f"the table of lists has the length {unknown[0]!r}: the lengths are {allowed}")
    lists: list[SampledList] = []
    for row in table.to_dict("records"):
        ids = tuple(int(token) for token in row["token_ids"])
        lists.append(
            SampledList(
                topic=str(row["topic"]),
                length=row["length"],
                request=str(row["request"]),
                list_id=str(row["list_id"]),
                token_ids=ids,
                prompt_length=int(row["prompt_length"]),
                temperature=float(row["temperature"]),
                top_p=float(row["top_p"]),
                seed=int(row["seed"]),
                parsed=parse_list(ids, markers, decode),
                source=str(row["source"]),
            )
        )
    return lists
