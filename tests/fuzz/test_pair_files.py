"""Files of pairs, of lists and of facts with anything in any cell: rows, faults with their row, or one line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from saeattr.behaviours.given.rows import COLUMNS
from saeattr.behaviours.given.source import GivenRows, read_source
from saeattr.behaviours.lists.written import RowProblem, WrittenList, read_rows
from saeattr.recall.facts.battery import FIELDS, IN_CHAT
from saeattr.recall.facts.battery import read_rows as read_facts
from tests.fuzz.cases import fuzz, unless_refused
from tests.fuzz.values import LEAVES, TEXTS, torn, trees

GOOD = {
    "clean": "The capital of France is",
    "corrupted": "The capital of Peru is",
    "answer": " Paris",
    "wrong": " Lima",
}
FACT: dict[str, Any] = dict(
    zip(FIELDS, ("capitals", "France has", "Peru has", " Paris", " Lima", "France"), strict=True)
)
LISTED = {"topic": "cities", "text": "- Paris\n- Rome", "temperature": 0.5, "request": "a short list of cities"}


def rows(good: dict[str, Any], more: tuple[str, ...]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows with some cells changed, added or left out."""
    changed = st.dictionaries(st.sampled_from([*good, *more]) | TEXTS, LEAVES | trees(), max_size=3)
    row = st.builds(
        lambda cells, lost: {k: v for k, v in {**good, **cells}.items() if k != lost},
        changed,
        st.sampled_from(["", *good]),
    )
    return st.lists(row, max_size=4)


def write_lines(path: Path, values: list[Any], text: str) -> None:
    path.write_bytes((text or "".join(json.dumps(value) + "\n" for value in values)).encode("utf-8", "surrogatepass"))


def write_csv(path: Path, values: list[dict[str, Any]]) -> None:
    file = io.StringIO(newline="")
    names = list(dict.fromkeys(name for value in values for name in value))
    writer = csv.DictWriter(file, names, restval="")
    writer.writeheader()
    writer.writerows(values)
    path.write_bytes(file.getvalue().encode("utf-8", "surrogatepass"))


def write_parquet(path: Path, values: list[dict[str, Any]]) -> bool:
    """Whether Arrow could hold it: a column has one type there, and a text no halves of surrogate pairs."""
    try:
        pq.write_table(pa.Table.from_pylist(values), path)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return False
    return True


def check(found: GivenRows | None, count: int) -> None:
    if found is None:
        return
    assert found.rows
    assert len(found.rows) + len(found.faults) <= count or count < 0
    numbers = [row.row for row in found.rows] + [fault.row for fault in found.faults]
    assert len(set(numbers)) == len(numbers)
    for row in found.rows:
        assert row.clean
        assert row.answer or row.answer_ids
        assert all(token >= 0 for token in (*row.answer_ids, *row.wrong_ids))
    assert len({(row.group, row.pair_id) for row in found.rows}) == len(found.rows)
    for fault in found.faults:
        assert fault.reason
        assert fault.mend
    assert len(found.sha256) == 64
    # What is stored in the study comes back the same.
    text = found.to_text().encode("utf-8", "surrogatepass")
    assert text.count(b"\n") >= len(found.rows)


@fuzz(rows(GOOD, COLUMNS), times=4)
def test_objects_and_lines_with_anything_in_them(tmp_path: Path, values: list[dict[str, Any]]):
    path = tmp_path / "p.jsonl"
    write_lines(path, values, "")
    check(unless_refused(lambda: read_source(path)), len(values))
    check(unless_refused(lambda: read_source(values)), len(values))


@fuzz(
    torn(rows(GOOD, COLUMNS).map(json.dumps)) | trees().map(json.dumps),
    st.sampled_from(["json", "jsonl", "csv"]),
    times=2,
)
def test_files_that_are_torn(tmp_path: Path, text: str, kind: str):
    path = tmp_path / f"p.{kind}"
    write_lines(path, [], text)
    check(unless_refused(lambda: read_source(path)), -1)
    for one in unless_refused(lambda: list(read_rows(path))) or ():
        assert isinstance(one, (WrittenList, RowProblem))


@fuzz(rows(GOOD, COLUMNS), times=2)
def test_tables_with_anything_in_them(tmp_path: Path, values: list[dict[str, Any]]):
    path = tmp_path / "p.csv"
    write_csv(path, values)
    check(unless_refused(lambda: read_source(path)), -1)
    if write_parquet(tmp_path / "p.parquet", values):
        check(unless_refused(lambda: read_source(tmp_path / "p.parquet")), len(values))


@fuzz(
    rows(LISTED, ("token_ids", "ended", "length", "list_id", "source")) | trees(),
    st.sampled_from(["json", "jsonl"]),
    times=2,
)
def test_lists_with_anything_in_them(tmp_path: Path, value: Any, kind: str):
    path = tmp_path / f"l.{kind}"
    write_lines(path, value if isinstance(value, list) else [value], "" if kind == "jsonl" else json.dumps(value))
    found = unless_refused(lambda: list(read_rows(path)))
    for one in found or ():
        assert isinstance(one, (WrittenList, RowProblem))
        if isinstance(one, WrittenList):
            assert one.text.strip() or one.token_ids
            assert not one.temperature < 0


@fuzz(rows(FACT, IN_CHAT), times=2)
def test_facts_with_anything_in_them(values: list[dict[str, Any]]):
    found = unless_refused(lambda: read_facts(values))
    if found is not None:
        assert len(found.rows) + len(found.faults) == len(values)
        assert all(getattr(row, name).strip() for row in found.rows for name in FIELDS)
        assert len(found.sha256) == 64
