"""Files of lists written elsewhere, by a person or another model: what they hold, and what is wrong with their rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saeattr.behaviours.lists.shapes import FoundRow, are_ids, found_rows
from saeattr.behaviours.lists.topics import Length, asked_length, find_length, resolve_topics
from saeattr.errors import UserError


@dataclass(frozen=True)
class WrittenList:
    """One list of a file.

    Attributes:
        row: where it stands, such as ``row 3``.
        topic: None where the file does not say.
        text: of the answer, or of a whole conversation; blank where there are token ids only.
        token_ids: likewise; used where they spell the text in this model's tokenizer, or there is no text.
        ended: whether the text is all that was written, so that the end of the turn belongs behind it.
        temperature: at which it was sampled; NaN where the file does not say.
        length: of the request that it answers; None where the file does not say (its conversation may).
        list_id: blank where the file has none.
        on_policy: whether the file says that the model under study wrote it.
    """

    row: str
    topic: str | None
    text: str = ""
    token_ids: tuple[int, ...] = ()
    ended: bool = True
    temperature: float = math.nan
    length: Length | None = None
    list_id: str = ""
    on_policy: bool = False


@dataclass(frozen=True)
class RowProblem:
    """A row that is no list, and why."""

    row: str
    reason: str

    def __str__(self) -> str:
        return f"{self.row} {self.reason}"


@dataclass(frozen=True)
class ListFile:
    """What a file of lists holds: those that can be read, and what is wrong with its other rows, a line each."""

    path: Path
    lists: tuple[WrittenList, ...]
    problems: tuple[str, ...]

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that it names, in their order."""
        return tuple(dict.fromkeys(one.topic for one in self.lists if one.topic is not None))

    def groups(self, named: Sequence[str]) -> tuple[str, ...]:
        """The topics of a study: those ``named``, or all of the file (``wanted_topics``).

        Raises:
            UserError: as there.
        """
        return wanted_topics(self.topics, named, str(self.path))

    def of_topic(self, topic: str) -> list[WrittenList]:
        """The lists of a topic; all, where the file names no topic."""
        return [one for one in self.lists if not self.topics or one.topic == topic]


def wanted_topics(topics: Sequence[str], named: Sequence[str], source: str) -> tuple[str, ...]:
    """The topics that are wanted of a source of lists: those ``named``, or all ``topics`` that it names itself.

    Raises:
        UserError: it has no list of a named topic; or it names none itself, and not exactly one is named.
    """
    known = {topic.casefold(): topic for topic in topics}
    wanted = tuple(known.get(topic.casefold(), topic) for topic in resolve_topics(named)) if named else tuple(topics)
    if not topics and len(wanted) != 1:
        raise UserError(f"the lists in {source} name no topic: say what they are of, with one --topic")
    missing = [topic for topic in wanted if topics and topic not in topics]
    if missing:
        raise UserError(f"{source} has no list of {missing[0]!r}: its topics are {', '.join(topics)}")
    return wanted


def read_list_file(path: str | Path) -> ListFile:
    """Read a file of lists.

    ``.json`` holds a list, or a mapping from topics to lists, of texts, token ids, or objects with ``text`` or
    ``token_ids`` and perhaps ``topic``, ``temperature`` and ``request``; a mapping may have temperatures above its
    topics, and the names of samples below. ``.jsonl`` has one of these a line; ``.parquet`` such columns (a study's own
    ``lists/SLUG.parquet`` will do). Any other file is plain text: blocks of lines with blank lines between them are a
    list each, and every line ends with a line break.

    Raises:
        UserError: there is no such file, it cannot be read as what its name says, or no row of it is a list.
    """
    path = Path(path).expanduser()
    rows = list(read_rows(path))
    lists = [one for one in rows if isinstance(one, WrittenList)]
    problems = [str(one) for one in rows if isinstance(one, RowProblem)]
    if any(one.topic for one in lists):
        problems += [f"{one.row} names no topic, and others do" for one in lists if one.topic is None]
        lists = [one for one in lists if one.topic is not None]
    if not lists:
        raise UserError(f"{path} holds no list" + (f" ({problems[0]})" if problems else ""))
    return ListFile(path, tuple(lists), tuple(problems))


def read_rows(path: Path) -> Iterator[WrittenList | RowProblem]:
    """The lists of a file as they stand, row by row, and what is none.

    Raises:
        UserError: the file cannot be read as what its name says.
    """
    return map(checked_row, found_rows(path))


def checked_row(found: FoundRow) -> WrittenList | RowProblem:
    """A row as a list, or why it is none."""
    try:
        return _written(found)
    except UserError as error:
        return RowProblem(found.row, str(error))


def _written(found: FoundRow) -> WrittenList:
    value = found.value
    fields: Mapping[str, Any] = value if isinstance(value, Mapping) else {"text": value, "token_ids": value}
    text, ids = fields.get("text"), fields.get("token_ids")
    text = text if isinstance(text, str) else ""
    ids = tuple(map(int, ids)) if are_ids(ids) else ()
    if not ids and not text.strip():
        blank = isinstance(fields.get("text"), str)
        raise UserError("is blank" if blank else "is neither a text nor token ids, nor an object with one of them")
    named = found.topic if found.topic is not None else fields.get("topic")
    if named is not None:
        (named,) = resolve_topics([str(named)])
    ended = fields.get("ended")
    return WrittenList(
        found.row,
        named,
        text,
        ids,
        ended=True if ended is None else bool(ended),
        temperature=_temperature(found, fields.get("temperature")),
        length=_length(fields),
        list_id=str(fields.get("list_id") or ""),
        on_policy=fields.get("source") == "model",
    )


def _temperature(found: FoundRow, value: Any) -> float:
    if value is None:
        return found.temperature
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise UserError(f"has the temperature {value!r}: give 0 or a positive number")
    return float(value)


def _length(fields: Mapping[str, Any]) -> Length | None:
    """The length of a row's request: as its word, or as the request's own words say."""
    word = fields.get("length")
    if word is not None:
        return find_length(str(word))
    return asked_length(str(fields["request"])) if fields.get("request") else None
