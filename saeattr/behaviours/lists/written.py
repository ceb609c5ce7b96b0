"""Files of lists written elsewhere, by a person or another model: what they hold, and what is wrong with their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from saeattr.behaviours.lists.topics import resolve_topics
from saeattr.errors import UserError
from saeattr.files import read_table


@dataclass(frozen=True)
class WrittenList:
    """One list of a file.

    Attributes:
        row: where it stands, such as ``row 3``.
        topic: None where the file does not say.
        text: of the answer, or of a whole conversation; blank where there are token ids only.
        token_ids: likewise; used where they spell the text in this model's tokenizer, or there is no text.
        ended: whether the text is all that was written, so that the end of the turn belongs behind it.
    """

    row: str
    topic: str | None
    text: str = ""
    token_ids: tuple[int, ...] = ()
    ended: bool = True


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
        """The topics of a study: those ``named``, or all of the file.

        Raises:
            UserError: the file has no list of a named topic; or it names none itself, and not exactly one is named.
        """
        known = {topic.casefold(): topic for topic in self.topics}
        wanted = tuple(known.get(topic.casefold(), topic) for topic in resolve_topics(named)) if named else self.topics
        if not self.topics and len(wanted) != 1:
            raise UserError(f"the lists in {self.path} name no topic: say what they are of, with one --topic")
        missing = [topic for topic in wanted if self.topics and topic not in self.topics]
        if missing:
            raise UserError(f"{self.path} has no list of {missing[0]!r}: its topics are {', '.join(self.topics)}")
        return wanted

    def of_topic(self, topic: str) -> list[WrittenList]:
        """The lists of a topic; all, where the file names no topic."""
        return [one for one in self.lists if not self.topics or one.topic == topic]


def read_list_file(path: str | Path) -> ListFile:
    """Read a file of lists.

    ``.json`` holds a list, or a mapping from topics to lists, of texts, token ids, or objects with ``text`` or
    ``token_ids`` and perhaps ``topic``; ``.jsonl`` one of these a line; ``.parquet`` such columns (a study's own
    ``lists/SLUG.parquet`` will do). Any other file is plain text: blocks of lines with blank lines between them are a
    list each, and every line ends with a line break.

    Raises:
        UserError: there is no such file, it cannot be read as what its name says, or no row of it is a list.
    """
    path = Path(path).expanduser()
    lists: list[WrittenList] = []
    problems: list[str] = []
    for row, topic, value in _values(path):
        try:
            lists.append(_written(row, topic, value))
        except UserError as error:
            problems.append(f"{row} {error}")
    if any(one.topic for one in lists):
        problems += [f"{one.row} names no topic, and others do" for one in lists if one.topic is None]
        lists = [one for one in lists if one.topic is not None]
    if not lists:
        raise UserError(f"{path} holds no list" + (f" ({problems[0]})" if problems else ""))
    return ListFile(path, tuple(lists), tuple(problems))


def _values(path: Path) -> Iterator[tuple[str, str | None, Any]]:
    """(row, topic, value) of everything in a file that should be a list."""
    kind = path.suffix.lower()
    if kind == ".parquet":
        table = read_table(path)
        rows = table[[name for name in ("topic", "text", "token_ids", "ended") if name in table]].to_dict("records")
        yield from ((f"row {number}", None, row) for number, row in enumerate(rows, 1))
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the lists in {path} cannot be read: {str(error).splitlines()[0]}") from error
    if kind == ".jsonl":
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        yield from ((f"line {number}", None, _json(line, path, number)) for number, line in lines)
    elif kind == ".json":
        yield from _json_values(_json(text, path))
    else:
        yield from ((f"block {number}", None, block) for number, block in enumerate(_blocks(text), 1))


def _json_values(value: Any) -> Iterator[tuple[str, str | None, Any]]:
    if isinstance(value, Mapping):
        for topic, values in value.items():
            rows = values if isinstance(values, list) else [values]
            yield from ((f"row {number} of {topic!r}", str(topic), row) for number, row in enumerate(rows, 1))
    else:
        rows = value if isinstance(value, list) and not _are_ids(value) else [value]
        yield from ((f"row {number}", None, row) for number, row in enumerate(rows, 1))


def _json(text: str, path: Path, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        if line is not None:
            # One malformed line is one malformed row.
            return None
        raise UserError(f"{path} is not JSON: {error}") from error


def _blocks(text: str) -> Iterator[str]:
    block = ""
    for line in [*text.splitlines(), ""]:
        if line.strip():
            block += f"{line}\n"
        elif block:
            yield block
            block = ""


def _written(row: str, topic: str | None, value: Any) -> WrittenList:
    fields: Mapping[str, Any] = value if isinstance(value, Mapping) else {"text": value, "token_ids": value}
    text, ids = fields.get("text"), fields.get("token_ids")
    text = text if isinstance(text, str) else ""
    ids = tuple(map(int, ids)) if _are_ids(ids) else ()
    if not ids and not text.strip():
        blank = isinstance(fields.get("text"), str)
        raise UserError("is blank" if blank else "is neither a text nor token ids, nor an object with one of them")
    named = topic if topic is not None else fields.get("topic")
    if named is not None:
        (named,) = resolve_topics([str(named)])
    return WrittenList(row, named, text, ids, bool(fields.get("ended", True)))


def _are_ids(value: Any) -> TypeGuard[Iterable[int]]:
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        return False
    ids = list(value)
    return bool(ids) and all(hasattr(one, "__index__") and not isinstance(one, bool) for one in ids)
