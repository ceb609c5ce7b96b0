"""The same rows come from every kind of source, and what cannot be read is said in one line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saeattr.behaviours.given.rows import COLUMNS
from saeattr.behaviours.given.source import GivenRows, read_source
from saeattr.errors import UserError

ROWS: list[dict[str, Any]] = [
    {"clean": "The capital of France is", "corrupted": "The capital of Peru is", "answer": " Paris", "wrong": " Lima"},
    {"clean": 'Say, "hi"\nthere', "corrupted": None, "answer": " Oslo", "wrong": None, "position": -2, "kind": "odd"},
    {"clean": "Éire\u2028 ist", "corrupted": "Éire\x85 is", "answer": " a", "wrong": " b", "group": "é", "id": "last"},
]
NAMES = ("clean", "corrupted", "answer", "wrong", "group", "id", "position", "kind")
FULL = [{name: row.get(name) for name in NAMES} for row in ROWS]

#: Any text but lone surrogates, which no file holds.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def as_csv(rows: list[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def sources(folder: Path) -> dict[str, Any]:
    """The same rows in every form."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    texts = {
        "lines.jsonl": lines,
        "lines.json": lines,
        "list.json": json.dumps(FULL, indent=1),
        "marked.jsonl": "\ufeff" + lines,
        "gaps.jsonl": lines.replace("\n", "\n\n"),
        "table.csv": as_csv(FULL),
        "TABLE.CSV": "\ufeff" + as_csv([dict(reversed(row.items())) for row in FULL]),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    table = pd.DataFrame(FULL)
    table.to_parquet(folder / "table.parquet")
    table.set_index(pd.Index([7, 8, 9])).to_parquet(folder / "labelled.parquet")
    nothing = table.astype({"position": "float64"}).where(table.notna(), np.nan)
    return {
        **{name: folder / name for name in (*texts, "table.parquet", "labelled.parquet")},
        "path as text": str(folder / "lines.jsonl"),
        "list": ROWS,
        "tuple": tuple(FULL),
        "generator": (row for row in FULL),
        "table": table,
        "table of NaN": nothing,
        "table of NA": table.convert_dtypes(),
        "dataset": datasets.Dataset.from_list(FULL),
    }


def test_every_kind_of_source_gives_the_same_rows(tmp_path: Path) -> None:
    found = {name: read_source(source) for name, source in sources(tmp_path).items()}
    expected = found["list"]
    assert [row.pair_id for row in expected.rows] == ["00001", "00002", "last"]
    assert [row.group for row in expected.rows] == ["pairs", "pairs", "é"]
    assert expected.rows[1].corrupted is None
    assert expected.rows[1].position == -2
    assert expected.rows[2].corrupted == "Éire\x85 is"
    assert expected.rows[1].as_cells()["kind"] == "odd"
    for name, given_rows in found.items():
        assert given_rows.rows == expected.rows, name
        assert given_rows.sha256 == expected.sha256, name
        assert not given_rows.faults, name


def test_another_row_or_another_order_is_another_fingerprint() -> None:
    first = read_source(ROWS).sha256
    assert read_source(ROWS[:2]).sha256 != first
    assert read_source(ROWS[::-1]).sha256 != first
    assert read_source([{**ROWS[0], "answer": " Rome"}, *ROWS[1:]]).sha256 != first


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"clean": TEXTS, "answer": st.lists(TEXTS, min_size=1, max_size=3)},
            optional={
                **{"corrupted": TEXTS, "wrong": TEXTS, "group": TEXTS, "position": st.integers(-5, 5)},
                **{"kind": TEXTS, "number": st.integers(), "nested": st.dictionaries(TEXTS, st.none() | TEXTS)},
                **{"pair_id": TEXTS, "copy": TEXTS, "model_config": TEXTS},
            },
        ),
        min_size=1,
        max_size=5,
    )
)
def test_rows_as_a_study_keeps_them_read_back_as_the_same_rows(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    first = read_source(rows)
    (tmp_path / "given.jsonl").write_text(first.to_text(), encoding="utf-8")
    again = read_source(tmp_path / "given.jsonl")
    assert again.sha256 == first.sha256
    assert [row.as_cells() for row in again.rows] == [row.as_cells() for row in first.rows]
    assert [row.pair_id for row in again.rows] == [row.pair_id for row in first.rows]


def test_cells_that_nothing_reads_may_be_anything() -> None:
    odd = {"when": pd.Timestamp(2020, 1, 2), "bytes": b"\xff", "array": np.array([1, 2]), "half": "\ud800"}
    found = read_source([{**ROWS[0], **odd, "row": 7}])
    kept = found.rows[0].as_cells()
    assert (kept["when"], kept["array"]) == ("2020-01-02 00:00:00", [1, 2])
    assert found.sha256 == read_source(json.loads(f"[{found.to_text()}]")).sha256


def test_columns_of_another_name_are_read_under_ours() -> None:
    theirs = [{"prompt": "a b", "patch": "c b", "yes": " d", "no": " e", "answer": "unread", "relation": "r"}]
    columns = ["clean=prompt", "corrupted=patch", "answer=yes", "wrong=no", "group=relation", "id=relation"]
    (row,) = read_source(theirs, columns).rows
    assert (row.clean, row.corrupted, row.answer, row.wrong) == ("a b", "c b", (" d",), (" e",))
    # One column may serve two.
    assert (row.group, row.pair_id) == ("r", "r")
    swapped = read_source(ROWS[:1], ["clean=corrupted", "corrupted=clean"]).rows[0]
    assert (swapped.clean, swapped.corrupted) == (ROWS[0]["corrupted"], ROWS[0]["clean"])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["clean"], "--columns cannot be 'clean': write OURS=THEIRS, ours being one of " + ", ".join(COLUMNS)),
        (
            ["neat=clean"],
            "--columns cannot be 'neat=clean': write OURS=THEIRS, ours being one of " + ", ".join(COLUMNS),
        ),
        (["clean="], "--columns cannot be 'clean=': write OURS=THEIRS, ours being one of " + ", ".join(COLUMNS)),
        (["clean=a", "clean=b"], "--columns names 'clean' twice, 'a' and 'b': give it once"),
        (["clean=prompt"], "1 rows has no column 'prompt': it has clean, corrupted, answer, wrong"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(columns: list[str], said: str) -> None:
    with pytest.raises(UserError) as refused:
        read_source(ROWS[:1], columns)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "0 rows has no rows: one row is one pair of prompts"),
        (
            [{"prompt": "a", "answer": " b"}],
            "1 rows has no column 'clean': it has prompt, answer; name it with --columns clean=NAME",
        ),
        (
            [{"clean": "a", "wrong": " b"}],
            "1 rows has no column 'answer': it has clean, wrong; name it with --columns answer=NAME",
        ),
        (
            [{"clean": "a", "answer": None}, {"clean": None, "answer": " b"}],
            "2 rows has 2 rows and none can be used; row 1: there is no answer: say what the model goes on with after "
            "the clean prompt",
        ),
        (7, "pairs cannot be a int: give a file, a list of dicts, a DataFrame or a datasets.Dataset"),
        ([1], "pairs cannot be a list: give a file, a list of dicts, a DataFrame or a datasets.Dataset"),
    ],
)
def test_objects_that_are_no_rows_are_refused(rows: Any, said: str) -> None:
    with pytest.raises(UserError) as refused:
        read_source(rows)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"clean": 5}, "clean cannot be 5: input should be a valid string"),
        ({"clean": ""}, "there is no clean: fill the column clean"),
        ({"clean": "\ud800"}, "clean cannot be '\\ud800': "),
        ({"answer": 42}, "answer cannot be 42: input should be a valid string"),
        ({"answer": [" a", ""]}, "answer cannot be '': string should have at least 1 character"),
        ({"answer_ids": [3]}, "answer and answer_ids are both given: leave one of them out"),
        ({"wrong_ids": [-1]}, "wrong_ids cannot be -1: input should be greater than or equal to 0"),
        ({"position": 1.5}, "position cannot be 1.5: "),
        ({"chat": "perhaps"}, "chat cannot be 'perhaps': "),
        ({"system": "Be kind."}, "system and start are for chats: set chat to true, or leave them out"),
        ({"spans": "no"}, "spans cannot be 'no': input should be a valid dictionary"),
        ({"spans": "[" * 20_000}, "spans cannot be '[[["),
        ({"spans": {"last": "a"}}, "a span cannot be named last, which is a role of its own: name it otherwise"),
        ({"group": True}, "group cannot be True: input should be a valid string"),
        ({"id": "first"}, "the id 'first' is twice in the group 'pairs': give it another"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_and_the_rest_is_read(cells: dict[str, Any], said: str) -> None:
    found = read_source([{**ROWS[0], "id": "first"}, {**ROWS[0], "id": "second", **cells}, ROWS[2]])
    assert [row.row for row in found.rows] == [1, 3]
    (fault,) = found.faults
    assert fault.row == 2
    assert f"{fault.reason}: {fault.mend}".startswith(said)
    assert "\n" not in str(fault)


def test_csv_cells_hold_lists_objects_numbers_and_flags(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_text(
        "clean,answer,wrong_ids,position,chat,spans,group\n"
        'a b,"["" x"", "" y""]","[3, 4]",-2,TRUE,"{""who"": ""a"", ""what"": [0, 1]}",7\n'
        "a b,[1],5,name,0,,\n"
    )
    first, second = read_source(path).rows
    assert (first.answer, first.wrong_ids, first.position, first.chat) == ((" x", " y"), (3, 4), -2, True)
    assert (first.spans, first.group) == ({"who": "a", "what": (0, 1)}, "7")
    # A bracket alone makes no list of texts.
    assert (second.answer, second.wrong_ids, second.position, second.chat) == (("[1]",), (5,), "name", False)


def test_a_csv_row_with_too_many_or_too_few_fields_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text("clean,answer\na, b\na, b, c\na\n\nd, e\n")
    found = read_source(path)
    assert [row.clean for row in found.rows] == ["a", "d"]
    assert [fault.row for fault in found.faults] == [2, 3]
    assert {fault.reason for fault in found.faults} == {"it has another number of fields than the first line"}


def test_lines_that_are_no_json_object_are_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(json.dumps(ROWS[0]) + '\n{"clean": \n[1]\n"text"\n' + "[" * 100_000 + "\n")
    found = read_source(path)
    assert len(found.rows) == 1
    assert [fault.row for fault in found.faults] == [2, 3, 4, 5]
    assert found.faults[0].reason.startswith("it is no JSON (")
    assert found.faults[1].reason == "it is no JSON object"


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\xff\xfe" * 40, b"[" * 100_000, b"PAR1" * 3, b"\x00" * 50])
def test_binary_garbage_is_refused_in_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"garbage{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        read_source(path)
    assert "\n" not in str(refused.value)
    assert path.name in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_an_empty_file_has_no_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"empty{suffix}"
    path.write_text("" if suffix != ".csv" else "clean,answer\n")
    with pytest.raises(UserError, match=f"^empty{suffix} has no rows: one row is one pair of prompts$"):
        read_source(path)


def test_a_csv_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("clean,answer,answer\na, b, c\n")
    with pytest.raises(UserError, match="cannot be read as csv: the column 'answer' is there twice"):
        read_source(path)


def test_what_is_no_file_of_pairs_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the hub was asked"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("hello")
    monkeypatch.chdir(tmp_path)
    for source, said in {
        "a/b": "a/b is a folder: give a file of pairs in it (.jsonl, .json, .csv, .parquet)",
        "a/pairs.jsonl": "there is no file of pairs 'a/pairs.jsonl': give one (.jsonl, .json, .csv, .parquet), or",
        "pairs": "there is no file of pairs 'pairs': give one",
        "notes.txt": "notes.txt cannot be read: a file of pairs ends in .jsonl, .json, .csv, .parquet",
        "x" * 5000: "there is no file of pairs 'xxx",
    }.items():
        with pytest.raises(UserError) as refused:
            read_source(source)
        assert str(refused.value).startswith(said)


def test_a_dataset_on_the_hub_is_read_by_its_name_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, split: str) -> datasets.Dataset:
        asked.append((name, split))
        return datasets.Dataset.from_list(FULL)

    monkeypatch.setattr(datasets, "load_dataset", load)
    found: list[GivenRows] = [read_source("some/pairs"), read_source("some/pairs:test")]
    assert asked == [("some/pairs", "train"), ("some/pairs", "test")]
    assert [one.name for one in found] == ["some/pairs", "some/pairs:test"]
    assert found[0].sha256 == read_source(ROWS).sha256


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("no way out"),
        ValueError("Unknown split 'x'\nsecond line"),
        datasets.exceptions.DatasetGenerationError(),  # pyright: ignore[reportAttributeAccessIssue]
    ],
)
def test_a_dataset_that_cannot_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    reason = (str(error).splitlines() or ["DatasetGenerationError"])[0]
    with pytest.raises(UserError) as refused:
        read_source("some/pairs:x")
    assert str(refused.value) == (
        f"the dataset some/pairs cannot be had from the hub ({reason}): check its name and split (org/name:split), go "
        "online once, or give a file"
    )
