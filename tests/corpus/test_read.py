"""Where lists are found, and in which order they come."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from saeattr import UserError
from saeattr.behaviours.lists.written import RowProblem, WrittenList
from saeattr.corpus.read import find_lists


def texts(source: str | Path) -> list[str]:
    return [row.text if isinstance(row, WrittenList) else str(row) for row in find_lists(source).rows()]


def test_a_folder_of_files_is_read_file_by_file_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("- b\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jsonl").write_text('"- a"\n\n{\n"- c"\n')
    (tmp_path / "sub" / "d.json").write_text(json.dumps(["- d"]))
    (tmp_path / "README.md").write_text("- no list\n")
    (tmp_path / "x.py").write_text("- no list\n")
    found = texts(tmp_path)
    assert [found[0], *found[2:]] == ["- a", "- c", "- b\n", "- d"]
    assert found[1].startswith("a.jsonl line 3 is neither")
    assert find_lists(tmp_path).name == tmp_path.name


def test_a_mapping_may_have_temperatures_above_topics_and_samples_below(write: Callable[..., Path]) -> None:
    value = {"0.1": {"towns": {"0": "- a", "1": "- b"}}, "1.3": {"towns": ["- c", [5, 6]], "birds": "- d"}}
    rows = list(find_lists(write(value)).rows())
    assert [(row.row, row.topic, row.temperature) for row in rows if isinstance(row, WrittenList)] == [
        ("sample 0 of 'towns' at 0.1", "towns", 0.1),
        ("sample 1 of 'towns' at 0.1", "towns", 0.1),
        ("row 1 of 'towns' at 1.3", "towns", 1.3),
        ("row 2 of 'towns' at 1.3", "towns", 1.3),
        ("row 1 of 'birds' at 1.3", "birds", 1.3),
    ]
    flat = list(find_lists(write({"0.5": ["- a"], "7": "- b", "2024": ["- c"]})).rows())
    assert [(row.topic, row.row) for row in flat if isinstance(row, WrittenList)] == [
        (None, "row 1 at 0.5"),
        (None, "sample 7"),
        ("2024", "row 1 of '2024'"),
    ]
    assert isinstance(next(iter(find_lists(write({"towns": {"0": 7}})).rows())), RowProblem)


def test_a_row_says_its_temperature_and_request_in_words(write: Callable[..., Path]) -> None:
    rows = [
        {"text": "- a", "temperature": 0.7, "request": "Give me a long list of towns."},
        {"text": "- a", "temperature": -1},
        {"text": "- a", "length": "tiny"},
        {"text": "- a", "length": "plain"},
    ]
    found = list(find_lists(write(rows)).rows())
    assert [row.temperature for row in found if isinstance(row, WrittenList)][:1] == [0.7]
    assert [str(row) for row in found[1:3]] == [
        "row 2 has the temperature -1: give 0 or a positive number",
        "row 3 'tiny' is not a request: choose one of short, long, plain, few, many",
    ]
    assert [row.length for row in found if isinstance(row, WrittenList)] == ["long", "none"]


def test_a_dataset_on_the_hub_is_read_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = [{"topic": "cities", "text": "- a"}, {"note": "none"}]
    asked = []

    def load(name: str, split: str) -> list[dict[str, str]]:
        asked.append((name, split))
        return rows

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = texts("some/lists:test")
    assert found[0] == "- a"
    assert found[1].startswith("row 2 is neither")
    assert asked == [("some/lists", "test")]


def test_what_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    for source in ("nowhere.json", tmp_path / "none", "a/b/c"):
        with pytest.raises(UserError, match="there are no lists"):
            find_lists(source)
    with pytest.raises(UserError, match="holds no lists: give a folder with files of them"):
        find_lists(tmp_path)
