"""Files of lists in every form, and every row that is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from saeattr import UserError
from saeattr.behaviours.lists.written import ListFile, read_list_file


@pytest.fixture
def read(tmp_path: Path):
    def write_and_read(value: Any, name: str = "lists.json") -> ListFile:
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return read_list_file(path)

    return write_and_read


def test_texts_token_ids_and_objects_of_either_are_lists(read) -> None:
    found = read(["- a\n- b", [5, 6, 7], {"text": "- c"}, {"token_ids": [8], "note": "kept out"}])
    assert [(one.row, one.text, one.token_ids) for one in found.lists] == [
        ("row 1", "- a\n- b", ()),
        ("row 2", "", (5, 6, 7)),
        ("row 3", "- c", ()),
        ("row 4", "", (8,)),
    ]
    assert (found.topics, found.problems) == ((), ())
    assert read([5, 6]).lists[0].token_ids == (5, 6)
    assert read(json.dumps({"text": "- a"}), "one.jsonl").lists[0].text == "- a"


def test_topics_come_from_rows_or_from_the_mapping_and_are_known_in_any_case(read) -> None:
    rows = [
        {"topic": "Cities", "text": "- a"},
        {"topic": "own  things", "text": "- b"},
        {"topic": "cities", "text": "c"},
    ]
    found = read(rows)
    assert found.topics == ("cities", "own things")
    assert [one.text for one in found.of_topic("cities")] == ["- a", "c"]
    assert found.groups(()) == ("cities", "own things")
    assert found.groups(["Own things", "CITIES"]) == ("own things", "cities")
    mapped = read({"cities": ["- a", [4, 5]], "birds": ["- b"]})
    assert [(one.topic, one.row) for one in mapped.lists] == [
        ("cities", "row 1 of 'cities'"),
        ("cities", "row 2 of 'cities'"),
        ("birds", "row 1 of 'birds'"),
    ]


def test_plain_text_is_a_list_a_block_and_every_line_ends_in_a_line_break(read) -> None:
    found = read("\n- a\n- b\n  \n\n1. c\n2. d", "lists.md")
    assert [(one.row, one.text) for one in found.lists] == [("block 1", "- a\n- b\n"), ("block 2", "1. c\n2. d\n")]


def test_malformed_rows_are_named_and_the_others_are_read(read) -> None:
    rows = [
        "- a",
        7,
        None,
        "  ",
        {"title": "x"},
        [1, "b"],
        {"text": ["- a"]},
        {"topic": "a\nb", "text": "- a"},
        [True],
        [],
    ]
    found = read(rows)
    assert [one.row for one in found.lists] == ["row 1"]
    no_list = "is neither a text nor token ids, nor an object with one of them"
    assert [problem.removeprefix(f"row {number} ") for number, problem in enumerate(found.problems, 2)] == [
        no_list,
        no_list,
        "is blank",
        no_list,
        no_list,
        no_list,
        r"the topic 'a\nb' holds a line break or control character: write it on one line",
        no_list,
        no_list,
    ]
    lines = read('{"text": "- a"}\n{broken\n\n"- b"\n', "lists.jsonl")
    assert [one.row for one in lines.lists] == ["line 1", "line 4"]
    assert lines.problems == (f"line 2 {no_list}",)


def test_a_row_without_a_topic_is_malformed_where_others_have_one(read) -> None:
    found = read([{"topic": "cities", "text": "- a"}, "- b"])
    assert [one.row for one in found.lists] == ["row 1"]
    assert found.problems == ("row 2 names no topic, and others do",)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lists.json", "[", "is not JSON"),
        ("lists.json", "[3, null]", r"holds no list \(row 1 is neither a text nor token ids"),
        ("lists.txt", "\n \n", "holds no list$"),
        ("lists.jsonl", "", "holds no list$"),
        ("lists.parquet", "no table", "is not a readable Parquet file"),
    ],
)
def test_a_file_without_a_list_is_refused_in_one_line(read, name: str, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refusal:
        read(text, name)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the lists in .*none\.json cannot be read: .*No such file"):
        read_list_file(tmp_path / "none.json")
    (tmp_path / "latin.txt").write_bytes(b"- S\xe3o Paulo\n")
    with pytest.raises(UserError, match="cannot be read"):
        read_list_file(tmp_path / "latin.txt")


def test_which_topics_a_study_is_about(read) -> None:
    plain, named = read(["- a"]), read({"cities": ["- a"], "birds": ["- b"]})
    assert plain.groups(["rivers"]) == ("rivers",)
    assert [one.text for one in plain.of_topic("rivers")] == ["- a"]
    assert named.groups(["Birds"]) == ("birds",)
    with pytest.raises(UserError, match=r"name no topic: say what they are of, with one --topic"):
        plain.groups([])
    with pytest.raises(UserError, match="name no topic"):
        plain.groups(["rivers", "cities"])
    with pytest.raises(UserError, match=r"has no list of 'rivers': its topics are cities, birds"):
        named.groups(["rivers"])


def test_a_table_of_lists_is_read_with_texts_token_ids_and_whether_they_ended(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {"topic": ["cities"] * 2, "text": ["- a\n", "- b"], "token_ids": [[1, 2], [3]], "ended": [True, False], "x": 1}
    )
    rows.to_parquet(tmp_path / "lists.parquet")
    found = read_list_file(tmp_path / "lists.parquet")
    assert [(one.topic, one.text, one.token_ids, one.ended) for one in found.lists] == [
        ("cities", "- a\n", (1, 2), True),
        ("cities", "- b", (3,), False),
    ]
