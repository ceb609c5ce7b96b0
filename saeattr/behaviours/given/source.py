"""Where rows come from: a file, objects in Python, or a dataset on the hub."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saeattr.behaviours.given.rows import COLUMNS, PairRow, RowFault, RowUnusable, read_row
from saeattr.errors import UserError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")

#: A cell, by the name of its column.
Cells = Mapping[str, Any]


@dataclass(frozen=True)
class GivenRows:
    """The rows of a source that can be read, and those that cannot.

    Attributes:
        name: what a reader calls the source.
    """

    name: str
    rows: tuple[PairRow, ...]
    faults: tuple[RowFault, ...] = ()

    @property
    def sha256(self) -> str:
        """Of what the rows say, wherever they came from."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    def to_text(self) -> str:
        """The rows as JSON lines, which ``read_source`` reads back; each says its id, so that it keeps it."""
        lines = (
            {"id": row.pair_id, **row.model_dump(mode="json", exclude={"row", "id"}, exclude_defaults=True)}
            for row in self.rows
        )
        return "".join(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines)


def read_source(source: Any, columns: Sequence[str] = ()) -> GivenRows:
    """The rows of a file, of a list of dicts, a DataFrame, a ``datasets.Dataset``, or of a dataset on the hub.

    Args:
        source: a path (JSON lines, CSV, Parquet), objects, or ``org/name``, ``org/name:split`` on the hub.
        columns: ``OURS=THEIRS``, such as ``clean=clean_prefix``, for columns of another name.

    Raises:
        UserError: it cannot be read, has no row, or lacks a column.
    """
    name, cells = _cells_of(source)
    renamed = _renames(columns)
    listed = list(cells)
    if not listed:
        raise UserError(f"{name} has no rows: one row is one pair of prompts")
    _check_columns(name, listed, renamed)
    rows, faults = [], []
    seen: Counter[tuple[str, str]] = Counter()
    for number, given in enumerate(listed, 1):
        try:
            if isinstance(given, RowUnusable):
                raise given
            row = read_row(number, _rename(given, renamed))
            seen[row.group, row.pair_id] += 1
            if seen[row.group, row.pair_id] > 1:
                raise RowUnusable(f"the id {row.pair_id!r} is twice in the group {row.group!r}", "give it another")
            rows.append(row)
        except RowUnusable as fault:
            faults.append(RowFault(number, "", fault.reason, fault.mend))
    if not rows:
        raise UserError(f"{name} has {len(faults)} rows and none can be used; {faults[0]}")
    return GivenRows(name, tuple(rows), tuple(faults))


def _cells_of(source: Any) -> tuple[str, Iterable[Cells | RowUnusable]]:
    """A source's name and its rows."""
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if path.is_file():
            return path.name, _read_file(path)
        if isinstance(source, str) and _names_dataset(source):
            return source, _read_hub(source)
        raise UserError(
            f"there is no file of pairs {str(source)!r}: give one ({', '.join(SUFFIXES)}), or org/name of a dataset on "
            "the hub"
        )
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        # A DataFrame.
        return f"a table of {len(source)} rows", source.to_dict("records")
    if isinstance(source, Iterable):
        listed = list(source)
        if all(isinstance(row, Mapping) for row in listed):
            return f"{len(listed)} rows", listed
    raise UserError(
        f"pairs cannot be a {type(source).__name__}: give a file, a list of dicts, a DataFrame or a datasets.Dataset"
    )


def _read_file(path: Path) -> Iterator[Cells | RowUnusable]:
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} cannot be read: a file of pairs ends in {', '.join(SUFFIXES)}")
    try:
        if path.suffix.lower() == ".parquet":
            import pandas as pd

            yield from pd.read_parquet(path).to_dict("records")  # pyright: ignore[reportReturnType]
        elif path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from map(_check_fields, csv.DictReader(file, strict=True))
        else:
            yield from _read_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, csv.Error) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be read as {path.suffix[1:]}: {reason}") from error


def _read_json(text: str) -> Iterator[Cells | RowUnusable]:
    """A list of objects, or an object a line (files of either kind are called .json)."""
    if text.lstrip().startswith("["):
        yield from map(_object_only, json.loads(text))
        return
    for line in text.splitlines():
        if line.strip():
            try:
                yield _object_only(json.loads(line))
            except ValueError as error:
                yield RowUnusable(f"it is no JSON ({error})", "write one object a line")


def _object_only(value: Any) -> Cells | RowUnusable:
    return value if isinstance(value, dict) else RowUnusable("it is no JSON object", 'write {"clean": ..., ...}')


def _check_fields(cells: dict[Any, Any]) -> Cells | RowUnusable:
    if None in cells or None in cells.values():
        return RowUnusable("it has another number of fields than the first line", "put texts with commas into quotes")
    return cells


def _names_dataset(source: str) -> bool:
    parts = source.partition(":")[0].split("/")
    return len(parts) == 2 and all(parts) and not source.startswith((".", "~", "/"))


def _read_hub(source: str) -> Iterator[Cells]:
    """A dataset on the hub; its split is train unless it is named. Nothing that it holds is executed."""
    import datasets

    name, _, split = source.partition(":")
    try:
        yield from datasets.load_dataset(name, split=split or "train")  # pyright: ignore[reportReturnType]
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the dataset {name} cannot be had from the hub ({reason}): check its name and split (org/name:split), go "
            "online once, or give a file"
        ) from error


def _renames(columns: Sequence[str]) -> dict[str, str]:
    """From their name to ours.

    Raises:
        UserError: an entry is not OURS=THEIRS, or names what there is not.
    """
    renamed: dict[str, str] = {}
    for entry in columns:
        ours, sign, theirs = (part.strip() for part in entry.partition("="))
        if not sign or ours not in COLUMNS or not theirs:
            raise UserError(f"--columns cannot be {entry!r}: write OURS=THEIRS, ours being one of {', '.join(COLUMNS)}")
        renamed[theirs] = ours
    return renamed


def _rename(cells: Cells, renamed: Mapping[str, str]) -> dict[str, Any]:
    """A row under our names: what is renamed to one of ours replaces what had that name."""
    kept = {name: value for name, value in cells.items() if name not in renamed and name not in renamed.values()}
    return {**kept, **{ours: cells[theirs] for theirs, ours in renamed.items() if theirs in cells}}


def _check_columns(name: str, rows: Sequence[Cells | RowUnusable], renamed: Mapping[str, str]) -> None:
    """Refuse what lacks a column in every row.

    Raises:
        UserError: it does.
    """
    there = dict.fromkeys(column for row in rows if not isinstance(row, RowUnusable) for column in row)
    if not there:
        return
    for theirs in renamed:
        if theirs not in there:
            raise UserError(f"{name} has no column {theirs!r}: it has {', '.join(map(str, there))}")
    ours = {renamed.get(column, column) for column in there}
    lacks = "clean" if "clean" not in ours else "" if ours & {"answer", "answer_ids"} else "answer"
    if lacks:
        raise UserError(
            f"{name} has no column {lacks!r}: it has {', '.join(map(str, there))}; name it with --columns {lacks}=NAME"
        )
