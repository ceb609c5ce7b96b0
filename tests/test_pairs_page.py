"""docs/pairs.md is followed: its file is written, its commands and its Python run, its output is what is printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from saeattr.behaviours.given.rows import COLUMNS
from saeattr.behaviours.given.source import read_source
from saeattr.cli import main
from saeattr.runs.metric import METRICS

PAGE = (Path(__file__).parents[1] / "docs" / "pairs.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return found


def test_the_page_is_followed_from_its_first_file_to_its_last_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    Path("capitals.jsonl").write_text(block("json"), encoding="utf-8")
    printed = []
    for line in re.findall(r"^    python -m saeattr (.+)$", PAGE, flags=re.MULTILINE):
        more = ["--device", "cpu", "--no-figures"] if line.startswith("attribute") else []
        with pytest.raises(SystemExit) as stopped:
            main([*shlex.split(line), *more])
        assert not stopped.value.code
        printed.append(capsys.readouterr().out)
    assert len(printed) == 3
    shown = [[line.rstrip() for line in text.strip().splitlines()] for text in (printed[0], block("text"))]
    assert shown[0] == shown[1]
    assert [row.clean for row in read_source("again.jsonl").rows] == [
        "The capital of France is",
        "The capital of Egypt is",
    ]
    names: dict[str, object] = {}
    exec(compile(block("python"), "docs/pairs.md", "exec"), names)
    assert isinstance(names["rows"], pd.DataFrame)
    assert (tmp_path / "runs" / "table" / "features.parquet").is_file()


def test_every_column_and_every_metric_stands_on_the_page() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert set(COLUMNS) <= set(named)
    assert set(METRICS) | {"answer-vs-wrong"} <= set(named)


def test_the_chat_row_of_the_page_is_a_row(tmp_path: Path) -> None:
    (line,) = re.findall(r"^    (\{.+\})$", PAGE, flags=re.MULTILINE)
    (tmp_path / "chat.jsonl").write_text(line)
    (row,) = read_source(tmp_path / "chat.jsonl").rows
    assert row.chat
    assert row.start == "My answer: "
