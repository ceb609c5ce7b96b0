"""Where rows come from: a file, objects in Python, or a dataset on the hub."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

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
        """Of what the rows say, wherever they came from and in whatever order of columns."""
        return hashlib.sha256(self._lines(sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()

    def to_text(self) -> str:
        """The rows as JSON lines, which ``read_source`` reads back; each says its id, so that it keeps it."""
        return self._lines(sort_keys=False)

    def _lines(self, sort_keys: bool) -> str:
        lines = ({"id": row.pair_id, **row.as_cells()} for row in self.rows)
        return "".join(json.dumps(line, ensure_ascii=False, sort_keys=sort_keys) + "\n" for line in lines)


def read_source(source: Any, columns: Sequence[str] = ()) -> GivenRows:
    """The rows of a file, of a list of dicts, a DataFrame, a ``datasets.Dataset``, or of a dataset on the hub.

    Args:
        source: a path (JSON lines, CSV, Parquet), objects, or ``org/name``, ``org/name:split`` on the hub.
        columns: ``OURS=THEIRS``, such as ``clean=clean_prefix``, for columns of another name.

    Raises:
        UserError: it cannot be read, has no row, or lacks a column.
    """
    name, found = cells_of(source)
    renamed = _renames(columns)
    listed = list(found)
    if not listed:
        raise UserError(f"{name} has no rows: one row is one pair of prompts")
    _check_columns(name, listed, renamed)
    rows, faults = [], []
    seen: Counter[tuple[str, str]] = Counter()
    for number, given in enumerate(listed, 1):
        cells: Cells = {}
        try:
            if isinstance(given, RowUnusable):
                raise given
            cells = _rename(given, renamed)
            row = read_row(number, cells)
            seen[row.group, row.pair_id] += 1
            if seen[row.group, row.pair_id] > 1:
                raise RowUnusable(f"the id {row.pair_id!r} is twice in the group {row.group!r}", "give it another")
            rows.append(row)
        except RowUnusable as fault:
            names = {key: str(cells[key]) for key in ("id", "group") if isinstance(cells.get(key), (str, int))}
            faults.append(RowFault(number, names.get("id", ""), fault.reason, fault.mend, names.get("group", "")))
    if not rows:
        raise UserError(f"{name} has {len(faults)} rows and none can be used; {faults[0]}")
    return GivenRows(name, tuple(rows), tuple(faults))


def cells_of(source: Any, kind: str = "pairs") -> tuple[str, Iterable[Cells | RowUnusable]]:
    """A source's name and its rows, whatever they hold.

    Args:
        kind: what a refusal calls the rows.

    Raises:
        UserError: it is no source, or (while the rows are taken) cannot be read.
    """
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if os.path.isdir(path):
            raise UserError(f"{source} is a folder: give a file of {kind} in it ({', '.join(SUFFIXES)})")
        if os.path.isfile(path):
            return path.name, _read_file(path)
        # A file whose name is mistyped is not looked for on the hub.
        if isinstance(source, str) and path.suffix.lower() not in SUFFIXES and names_dataset(source):
            return source, read_hub(source)
        raise UserError(
            f"there is no file of {kind} {reprlib.repr(str(source))}: give one ({', '.join(SUFFIXES)}), or org/name of "
            "a dataset on the hub"
        )
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        # A DataFrame.
        return f"a table of {len(source)} rows", source.to_dict("records")
    if isinstance(source, Iterable):
        listed = list(source)
        if all(isinstance(row, Mapping) for row in listed):
            return f"{len(listed)} rows", listed
    raise UserError(
        f"{kind} cannot be a {type(source).__name__}: give a file, a list of dicts, a DataFrame or a datasets.Dataset"
    )


def _read_file(path: Path) -> Iterator[Cells | RowUnusable]:
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} cannot be read: a file of pairs ends in {', '.join(SUFFIXES)}")
    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
            # pandas' row labels, where it kept them.
            yield from table.select(
                [name for name in table.column_names if not name.startswith("__index_")]
            ).to_pylist()
        elif path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from _read_csv(file)
        else:
            yield from _read_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as {path.suffix[1:]}: {_first_line(error)}") from error


def _read_json(text: str) -> Iterator[Cells | RowUnusable]:
    """A list of objects, or an object a line (files of either kind are called .json)."""
    if text.lstrip().startswith("["):
        yield from map(_object_only, json.loads(text))
        return
    # Texts may hold what splitlines() takes for the end of a line, such as U+2028.
    for line in text.split("\n"):
        if line.strip():
            try:
                yield _object_only(json.loads(line))
            except (ValueError, RecursionError) as error:
                yield RowUnusable(f"it is no JSON ({error})", "write one object a line")


def _object_only(value: Any) -> Cells | RowUnusable:
    return value if isinstance(value, dict) else RowUnusable("it is no JSON object", 'write {"clean": ..., ...}')


def _read_csv(file: Iterable[str]) -> Iterator[Cells | RowUnusable]:
    reader = csv.DictReader(file, strict=True)
    twice = [name for name, times in Counter(reader.fieldnames).items() if times > 1]
    if twice:
        raise ValueError(f"the column {twice[0]!r} is there twice")
    for cells in reader:
        if None in cells or None in cells.values():
            yield RowUnusable("it has another number of fields than the first line", "put texts with commas in quotes")
        else:
            yield cells


def names_dataset(source: str) -> bool:
    """Whether a source could be ``org/name`` or ``org/name:split``."""
    parts = source.partition(":")[0].split("/")
    return len(parts) == 2 and all(parts) and not source.startswith((".", "~", "/"))


def read_hub(source: str) -> Iterator[Cells]:
    """A dataset on the hub; its split is train unless it is named. Nothing that it holds is executed."""
    import datasets
    from datasets.exceptions import DatasetsError

    name, _, split = source.partition(":")
    try:
        yield from datasets.load_dataset(name, split=split or "train")  # pyright: ignore[reportReturnType]
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise UserError(
            f"the dataset {name} cannot be had from the hub ({_first_line(error)}): check its name and split "
            "(org/name:split), go online once, or give a file"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _renames(columns: Sequence[str]) -> dict[str, str]:
    """From our name to theirs.

    Raises:
        UserError: an entry is not OURS=THEIRS, names what there is not, or what another one names.
    """
    renamed: dict[str, str] = {}
    for entry in columns:
        ours, sign, theirs = (part.strip() for part in entry.partition("="))
        if not sign or ours not in COLUMNS or not theirs:
            raise UserError(f"--columns cannot be {entry!r}: write OURS=THEIRS, ours being one of {', '.join(COLUMNS)}")
        if ours in renamed:
            raise UserError(f"--columns names {ours!r} twice, {renamed[ours]!r} and {theirs!r}: give it once")
        renamed[ours] = theirs
    return renamed


def _rename(cells: Cells, renamed: Mapping[str, str]) -> dict[str, Any]:
    """A row under our names: what is renamed to one of ours replaces what had that name."""
    taken = (*renamed, *renamed.values())
    kept = {name: value for name, value in cells.items() if name not in taken}
    return {**kept, **{ours: cells[theirs] for ours, theirs in renamed.items() if theirs in cells}}


def _check_columns(name: str, rows: Sequence[Cells | RowUnusable], renamed: Mapping[str, str]) -> None:
    """Refuse what lacks a column in every row.

    Raises:
        UserError: it does.
    """
    there = dict.fromkeys(column for row in rows if not isinstance(row, RowUnusable) for column in row)
    if not there:
        return
    listed = ", ".join(reprlib.repr(column).strip("'") for column in list(there)[:20])
    for theirs in renamed.values():
        if theirs not in there:
            raise UserError(f"{name} has no column {theirs!r}: it has {listed}")
    ours = _rename(there, renamed)
    lacks = "clean" if "clean" not in ours else "" if {"answer", "answer_ids"} & set(ours) else "answer"
    if lacks:
        raise UserError(f"{name} has no column {lacks!r}: it has {listed}; name it with --columns {lacks}=NAME")
