"""A battery of facts: rows of six fields, from a file of the user's, from Python, or one that comes with the program.

One row is one fact in one phrasing: a prompt that ends where the answer follows, the same prompt about another entity,
the answer to each, and the entity. Rows of one fact in other words need no further field: they have the same category,
entity and answers.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saeattr.behaviours.given.rows import RowFault, RowUnusable
from saeattr.behaviours.given.source import cells_of
from saeattr.errors import UserError
from saeattr.files import write_text

#: What may be there beside: how a fact is asked in a chat template.
IN_CHAT = ("instruction", "start")
#: In their order; each row has all of them.
FIELDS = ("category", "clean_prompt", "corrupt_prompt", "clean_target", "corrupt_target", "entity_token")


@dataclass(frozen=True)
class FactRow:
    """One fact in one phrasing.

    Attributes:
        row: its number in the source, from 1.
        clean_prompt, corrupt_prompt: end where the answer follows, and differ in the entity.
        clean_target, corrupt_target: the right answer to each, with its leading space.
        entity_token: the entity as it stands in the clean prompt, of one token or several.
        pair_id: the entity, and which of its rows in the category this is.
        instruction, start: in a chat template what stands before the prompt in the user's turn, and what the answer's
            turn begins with; None and blank where the row does not say.
    """

    row: int
    category: str
    clean_prompt: str
    corrupt_prompt: str
    clean_target: str
    corrupt_target: str
    entity_token: str
    pair_id: str = ""
    instruction: str | None = None
    start: str = ""

    @property
    def fact(self) -> str:
        """What phrasings of one fact share: ``France: Paris, not Rome``."""
        return f"{self.entity}: {self.clean_target.strip()}, not {self.corrupt_target.strip()}"

    @property
    def entity(self) -> str:
        """``entity_token`` without the blanks around it, which a token's text may have."""
        return self.entity_token.strip()

    @property
    def phrasing(self) -> str:
        """The clean prompt with ``{x}`` in place of the entity."""
        place = next(iter(places_of(self.clean_prompt, self.entity)), None)
        if place is None:
            return self.clean_prompt
        return f"{self.clean_prompt[: place[0]]}{{x}}{self.clean_prompt[place[1] :]}"

    def as_cells(self) -> dict[str, str]:
        """The six fields, and those of a chat that the row has."""
        more = {name: getattr(self, name) for name in IN_CHAT if getattr(self, name)}
        return {**{name: getattr(self, name) for name in FIELDS}, **more}


@dataclass(frozen=True)
class Battery:
    """The rows of a source.

    Attributes:
        name: what a reader calls the source.
        faults: rows that cannot be read, each with its reason.
        unread: by name, fields that nothing reads, with the number of rows that have them.
    """

    name: str
    rows: tuple[FactRow, ...]
    faults: tuple[RowFault, ...] = ()
    unread: Mapping[str, int] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of what the rows say, wherever they came from."""
        return hashlib.sha256(
            _as_lines([row.as_cells() for row in self.rows]).encode("utf-8", "surrogatepass")
        ).hexdigest()

    @property
    def notes(self) -> list[str]:
        """What a reader should know of the source, one line each."""
        if not self.unread:
            return []
        named = ", ".join(f"{name!r} (in {count} rows)" for name, count in self.unread.items())
        return [f"{self.name}: fields that nothing reads: {named}; a row has {', '.join(FIELDS)}"]


def places_of(prompt: str, entity: str) -> list[tuple[int, int]]:
    """The [start, end) characters at which an entity stands in a prompt, as whole words where it does anywhere."""
    word = re.escape(entity)
    whole = [match.span() for match in re.finditer(rf"(?<!\w){word}(?!\w)", prompt)]
    # Of a script without blanks between words no entity stands by itself.
    return whole or [match.span() for match in re.finditer(word, prompt)]


def read_rows(source: Any) -> Battery:
    """The rows of a file (a JSON list, JSON lines, CSV, Parquet), of a list of dicts or of a DataFrame.

    Raises:
        UserError: it cannot be read, or no row of it can.
    """
    name, cells = cells_of(source, "facts")
    return check_rows(name, list(cells))


def check_rows(name: str, given: Sequence[Mapping[str, Any] | RowUnusable]) -> Battery:
    """Rows from their cells: those that have all six fields as text, and why the others are none.

    Raises:
        UserError: there is no row that does.
    """
    rows: list[FactRow] = []
    faults: list[RowFault] = []
    unread: Counter[str] = Counter()
    seen: dict[tuple[str, ...], int] = {}
    per_entity: Counter[tuple[str, str]] = Counter()
    for number, cells in enumerate(given, 1):
        try:
            if isinstance(cells, RowUnusable):
                raise cells
            unread.update(str(key) for key in cells if key not in (*FIELDS, *IN_CHAT))
            values, more = _values(cells), _in_chat(cells)
            known = (*values, *more.values())
            if known in seen:
                raise RowUnusable(f"it is row {seen[known]} again", "leave one of them out")
            seen[known] = number
            one = FactRow(number, *values, **more)
            per_entity[one.category, one.entity] += 1
            rows.append(dataclasses.replace(one, pair_id=f"{one.entity} {per_entity[one.category, one.entity]}"))
        except RowUnusable as fault:
            category = "" if isinstance(cells, RowUnusable) else str(cells.get("category") or "")
            faults.append(RowFault(number, "", fault.reason, fault.mend, category))
    if not rows:
        reason = f"none of its {len(faults)} rows can be used; {faults[0]}" if faults else "it has no rows"
        raise UserError(f"{name} holds no fact: {reason}")
    return Battery(name, tuple(rows), tuple(faults), dict(unread))


def _values(cells: Mapping[str, Any]) -> tuple[str, ...]:
    """The six fields of a row.

    Raises:
        RowUnusable: one is missing, or is no text.
    """
    for name in FIELDS:
        value = cells.get(name)
        # A table has NaN where a cell is empty.
        if value is None or value != value or (isinstance(value, str) and not value.strip()):
            raise RowUnusable(f"there is no {name}", f"a row has {', '.join(FIELDS)}")
        if not isinstance(value, str):
            raise RowUnusable(f"{name} is {value!r}, which is no text", 'write it in quotes, as in " 1945"')
    return tuple(str(cells[name]) for name in FIELDS)


def _in_chat(cells: Mapping[str, Any]) -> dict[str, str]:
    """What a row says of how it is asked in a chat template; an empty cell says nothing.

    Raises:
        RowUnusable: it is no text.
    """
    given = {name: cells[name] for name in IN_CHAT if cells.get(name) is not None and cells[name] == cells[name]}
    for name, value in given.items():
        if not isinstance(value, str):
            raise RowUnusable(f"{name} is {value!r}, which is no text", "write it in quotes, or leave it out")
    return given


def write_battery(battery: Battery, path: Path) -> None:
    """Write the rows as a file that ``read_rows`` reads back: .json (a list), .jsonl or .csv.

    Raises:
        UserError: the name ends otherwise, or the file is there already: it may have been edited.
    """
    forms: dict[str, Callable[[list[dict[str, str]]], str]] = {".json": _as_list, ".jsonl": _as_lines, ".csv": _as_csv}
    if path.suffix not in forms:
        raise UserError(f"--out cannot be {str(path)!r}: let the name end in {', '.join(forms)}")
    if path.exists():
        raise UserError(f"{path} is there already, and may have been edited: give another --out, or delete it")
    write_text(path, forms[path.suffix]([row.as_cells() for row in battery.rows]))


def _as_list(rows: list[dict[str, str]]) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def _as_lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _as_csv(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    names = [name for name in (*FIELDS, *IN_CHAT) if any(name in row for row in rows)]
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
