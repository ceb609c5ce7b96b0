"""Rows of facts: what a file may hold, what is told of rows that cannot be read, and reading back what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from saeattr import UserError
from saeattr.recall.facts.battery import FIELDS, read_rows, write_battery

ROW = {
    "category": "capitals",
    "clean_prompt": "The capital of France is",
    "corrupt_prompt": "The capital of Peru is",
    "clean_target": " Paris",
    "corrupt_target": " Lima",
    "entity_token": "France",
}


def reasons(rows: list[Any]) -> list[str]:
    """What is told of the rows beside one that can be read."""
    return [str(fault) for fault in read_rows([ROW, *rows]).faults]


def test_the_three_forms_of_a_file_hold_the_same_rows(tmp_path: Path) -> None:
    rows = [
        ROW,
        {**ROW, "clean_prompt": 'In "France", the capital, is', "corrupt_prompt": 'In "Peru", the capital, is'},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    read = [read_rows(tmp_path / name) for name in ("a.json", "a.jsonl", "a.csv")]
    assert [row.as_cells() for row in read[0].rows] == rows
    assert read[0].rows == read[1].rows == read[2].rows == read_rows(rows).rows == read_rows(pd.DataFrame(rows)).rows
    assert len({one.sha256 for one in read}) == 1
    assert not any(one.faults or one.notes for one in read)


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    odd = {**ROW, "category": 'wörds, "quoted"', "clean_target": " Paris,", "entity_token": " France"}
    battery = read_rows([ROW, odd])
    write_battery(battery, tmp_path / f"b{suffix}")
    back = read_rows(tmp_path / f"b{suffix}")
    assert back.rows == battery.rows
    assert back.sha256 == battery.sha256
    with pytest.raises(UserError, match="is there already, and may have been edited"):
        write_battery(battery, tmp_path / f"b{suffix}")
    with pytest.raises(UserError, match=r"let the name end in \.json, \.jsonl, \.csv"):
        write_battery(battery, tmp_path / "b.txt")


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_or_blank_field_is_named_and_the_rest_is_read(field: str) -> None:
    without = {name: value for name, value in ROW.items() if name != field}
    told = reasons([without, {**ROW, field: "  "}, {**ROW, field: float("nan")}])
    assert told == [f"row {number}: there is no {field}: a row has {', '.join(FIELDS)}" for number in (2, 3, 4)]


def test_a_field_that_is_no_text_a_row_that_is_no_object_and_a_row_twice_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([ROW, {**ROW, "clean_target": 1945}, 7, ROW]), encoding="utf-8")
    battery = read_rows(tmp_path / "a.json")
    assert len(battery.rows) == 1
    assert [(fault.row, fault.reason) for fault in battery.faults] == [
        (2, "clean_target is 1945, which is no text"),
        (3, "it is no JSON object"),
        (4, "it is row 1 again"),
    ]


def test_fields_that_nothing_reads_are_named_and_counted() -> None:
    (note,) = read_rows([{**ROW, "source": "me"}, {**ROW, "clean_prompt": "France has", "source": "x"}]).notes
    assert "fields that nothing reads: 'source' (in 2 rows)" in note


def test_a_file_without_a_row_that_can_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no fact: none of its 2 rows can be used; row 1: there is no category"):
        read_rows([{"prompt": "a"}, {}])
    (tmp_path / "a.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.json holds no fact: it has no rows"):
        read_rows(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"there is no file of facts '.*none\.json'"):
        read_rows(tmp_path / "none.json")


def test_phrasings_of_one_fact_share_it_and_have_ids_of_their_own() -> None:
    other = {**ROW, "clean_prompt": "France, its capital:", "corrupt_prompt": "Peru, its capital:"}
    one, two = read_rows([ROW, other]).rows
    assert one.fact == two.fact == "France: Paris, not Lima"
    assert (one.phrasing, two.phrasing) == ("The capital of {x} is", "{x}, its capital:")
    assert (one.pair_id, two.pair_id) == ("France 1", "France 2")


def test_the_phrasing_marks_the_entity_and_no_word_that_holds_it() -> None:
    (row,) = read_rows([{**ROW, "clean_prompt": "The gopher go, yesterday it", "entity_token": " go"}]).rows
    assert row.phrasing == "The gopher {x}, yesterday it"
