"""One row of a file of pairs: what it may hold, and what a row that holds something else is told."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from saeattr.errors import UserError

#: The group of rows that name none.
ALONE = "pairs"


class RowUnusable(UserError):
    """A row that makes no pair: the reason, and the mend."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(f"{reason}: {mend}")
        self.reason, self.mend = reason, mend


@dataclass(frozen=True)
class RowFault:
    """A row that cannot be used; ``row`` counts from 1, ``pair_id`` and ``group`` are blank where it has none."""

    row: int
    pair_id: str
    reason: str
    mend: str
    group: str = ""

    def __str__(self) -> str:
        return f"row {self.row}{f' ({self.pair_id})' if self.pair_id else ''}: {self.reason}: {self.mend}"


def _several(value: Any) -> Any:
    """One value as a tuple of one."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _texts(value: Any) -> Any:
    """A CSV cell may hold several texts as a JSON list; any other text that begins with a bracket is one."""
    listed = _json_list(value)
    return _several(listed if all(isinstance(text, str) for text in listed) and listed else value)


def _numbers(value: Any) -> Any:
    """A CSV cell may hold several numbers as a JSON list."""
    return _several(_json_list(value) or value)


def _json_list(value: Any) -> list[Any]:
    """The list that a text is in JSON; nothing where it is none."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return []
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return []


def _object(value: Any) -> Any:
    """A CSV cell may hold a JSON object; what Parquet fills up with nothing is left out."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return value
    return {key: at for key, at in value.items() if at is not None} if isinstance(value, dict) else value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _index(value: Any) -> Any:
    """A CSV cell holds an index as text."""
    return int(value) if isinstance(value, str) and INDEX.fullmatch(value.strip()) else value


#: Roles that a span cannot be named: the alignment's own, and that of where the metric is read.
ROLES = ("bos", "turn", "common", "changed", "after", "last", "answer", "wrong", "decision")

#: An index as text.
INDEX = re.compile(r"-?[0-9]{1,9}")

Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_texts)]
TokenIds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_numbers)]
Name = Annotated[str, BeforeValidator(_text), Field(min_length=1)]


class PairRow(BaseModel):
    """A row as the user wrote it; columns that are not named here are kept, and nothing reads them.

    Attributes:
        row: its number in the file, from 1.
        clean, corrupted: prompts, or user turns (``chat``).
        answer, wrong: what the model goes on with after the clean prompt, and what it should not; one text of one or
            more tokens, or several of one token each. answer_ids, wrong_ids: the same as token ids, one token each.
        position: where the answer is read: a token index (negative from the end) or the name of a span; None: the last.
        spans: by name a text that stands once in the clean prompt, or its [start, end) characters.
        chat: the prompts are user turns; system is the turn before, start the beginning of the answer.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    row: int
    clean: Annotated[str, Field(min_length=1)]
    corrupted: str | None = None
    answer: Texts = ()
    wrong: Texts = ()
    answer_ids: TokenIds = ()
    wrong_ids: TokenIds = ()
    group: Name = ALONE
    id: Name | None = None
    position: Annotated[int | str | None, BeforeValidator(_index)] = None
    spans: Annotated[dict[str, str | tuple[int, int]], BeforeValidator(_object)] = {}
    chat: bool = False
    system: str | None = None
    start: str = ""

    @model_validator(mode="after")
    def _check(self) -> PairRow:
        for name in ("answer", "wrong"):
            if getattr(self, name) and getattr(self, f"{name}_ids"):
                raise ValueError(f"{name} and {name}_ids are both given: leave one of them out")
        if not (self.answer or self.answer_ids):
            raise ValueError("there is no answer: say what the model goes on with after the clean prompt")
        if not self.chat and (self.system is not None or self.start):
            raise ValueError("system and start are for chats: set chat to true, or leave them out")
        taken = [name for name in self.spans if name in ROLES]
        if taken:
            raise ValueError(f"a span cannot be named {taken[0]}, which is a role of its own: name it otherwise")
        return self

    @property
    def pair_id(self) -> str:
        return self.id or f"{self.row:05d}"

    def as_cells(self) -> dict[str, Any]:
        """What it says beside its id, as JSON holds it."""
        return self.model_dump(mode="json", exclude={"row", "id"}, exclude_defaults=True)


#: Columns that mean something; every other one is kept for grouping.
COLUMNS = tuple(name for name in PairRow.model_fields if name != "row")


def read_row(number: int, values: Mapping[str, Any]) -> PairRow:
    """A row from its cells; None, NaN and blank cells count as absent.

    Raises:
        RowUnusable: a cell is of another kind, or the clean prompt or the answer is missing.
    """
    cells = {name: _plain(value) for name, value in values.items() if isinstance(name, str) and name != "row"}
    there = {
        name: value if name in COLUMNS else _as_json(value)
        for name, value in cells.items()
        if value is not None and value != ""
    }
    try:
        return PairRow.model_validate({"row": number, **there})
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "missing":
            raise RowUnusable(f"there is no {where}", f"fill the column {where}") from error
        reason, _, mend = first["msg"].removeprefix("Value error, ").partition(": ")
        if where:
            reason = f"{where} cannot be {reprlib.repr(first.get('input'))}"
            mend = first["msg"][0].lower() + first["msg"][1:]
        raise RowUnusable(reason, mend or "see the columns in docs/pairs.md") from error


def _plain(value: Any) -> Any:
    """A cell without numpy's and pandas' kinds; None for what stands for nothing."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float) and math.isnan(value):
        return None
    # Whole numbers become floats in a table in which some are missing.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    # pandas' missing values are no floats.
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def _as_json(value: Any) -> Any:
    """A cell that nothing reads, as JSON holds it: a table may hold dates, bytes, pictures."""
    text = json.dumps(value, ensure_ascii=False, skipkeys=True, default=lambda one: str(_plain(one)))
    return json.loads(text.encode("utf-8", "replace"))
