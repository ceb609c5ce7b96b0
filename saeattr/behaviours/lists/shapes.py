"""The shapes that files of lists come in, read row by row: what stands where, before any of it is checked.

A JSON file is held whole, because it is one value; lines, blocks of text and Parquet are streamed.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from saeattr.errors import UserError
from saeattr.files import iter_rows

#: What a row of a table may say of its list.
FIELDS = ("topic", "text", "token_ids", "ended", "temperature", "length", "request", "list_id", "source")
#: A key of a mapping that is a larger number names something else than a temperature.
HOTTEST = 10.0


@dataclass(frozen=True)
class FoundRow:
    """Something in a file that should be a list.

    Attributes:
        row: where it stands, such as ``row 3 of 'cities'``.
        topic, temperature: as the keys above it say; None and NaN where they do not.
    """

    row: str
    value: Any
    topic: str | None = None
    temperature: float = math.nan


def found_rows(path: Path) -> Iterator[FoundRow]:
    """Everything in a file that should be a list, by the ending of its name (``written.read_list_file``).

    Raises:
        UserError: it cannot be read as what its name says.
    """
    kind = path.suffix.lower()
    if kind == ".parquet":
        yield from (FoundRow(f"row {number}", row) for number, row in enumerate(iter_rows(path, FIELDS), 1))
        return
    try:
        if kind == ".json":
            yield from _json_rows(_json(path))
            return
        with path.open(encoding="utf-8") as file:
            yield from _lines(file) if kind == ".jsonl" else _blocks(file)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the lists in {path} cannot be read: {str(error).splitlines()[0]}") from error


def are_ids(value: Any) -> TypeGuard[Iterable[int]]:
    """Whether a value is one or more token ids."""
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        return False
    ids = list(value)
    return bool(ids) and all(hasattr(one, "__index__") and not isinstance(one, bool) for one in ids)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        raise UserError(f"{path} is not JSON: {error}") from error


def _lines(file: Iterable[str]) -> Iterator[FoundRow]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                # One malformed line is one malformed row.
                value = None
            yield FoundRow(f"line {number}", value)


def _blocks(file: Iterable[str]) -> Iterator[FoundRow]:
    number, block = 0, ""
    for line in itertools.chain(file, [""]):
        if line.strip():
            block += line.rstrip("\n") + "\n"
        elif block:
            number += 1
            yield FoundRow(f"block {number}", block)
            block = ""


def _json_rows(value: Any) -> Iterator[FoundRow]:
    if isinstance(value, Mapping) and not _is_object(value):
        yield from _of_mapping(value, None, math.nan)
    else:
        rows = value if isinstance(value, list) and not are_ids(value) else [value]
        yield from (FoundRow(f"row {number}", row) for number, row in enumerate(rows, 1))


def _of_mapping(value: Mapping[Any, Any], topic: str | None, temperature: float) -> Iterator[FoundRow]:
    """The rows of a mapping: topics, temperatures above or below them, and single samples as the last key."""
    for key, inner in value.items():
        many = (isinstance(inner, list) and not are_ids(inner)) or (
            isinstance(inner, Mapping) and not _is_object(inner)
        )
        number = _number(key)
        if not many and (topic is not None or number is not None):
            yield FoundRow(f"sample {key}{_where(topic, temperature)}", inner, topic, temperature)
            continue
        hot = number if many and number is not None and 0 <= number <= HOTTEST else None
        own = (topic, hot) if hot is not None else (str(key), temperature)
        if isinstance(inner, Mapping) and many:
            yield from _of_mapping(inner, *own)
        else:
            rows = inner if many else [inner]
            yield from (FoundRow(f"row {n}{_where(*own)}", row, *own) for n, row in enumerate(rows, 1))


def _where(topic: str | None, temperature: float) -> str:
    of = "" if topic is None else f" of {topic!r}"
    return of if math.isnan(temperature) else f"{of} at {temperature:g}"


def _is_object(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping is one list with its text or token ids, and not a topic of that name."""
    return isinstance(value.get("text"), str) or are_ids(value.get("token_ids"))


def _number(key: str) -> float | None:
    try:
        return float(key)
    except ValueError:
        return None
