"""Empty options, and names that no file can have, are refused before anything is looked at or written."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from saeattr.cli import app, main
from saeattr.cli.app import PLACES


def commands(group: Any) -> Iterator[Any]:
    for command in group.commands.values():
        if hasattr(command, "commands"):
            yield from commands(command)
        else:
            yield command


def test_every_parameter_that_is_a_path_is_known_as_one() -> None:
    found = [
        (command.name, name)
        for command in commands(typer.main.get_command(app))
        for name, parameter in inspect.signature(command.callback, eval_str=True).parameters.items()
        if "Path" in str(parameter.annotation)
    ]
    assert len(found) > 20
    assert [one for one in found if one[1] not in PLACES] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["attribute", "--out", ""], "--out cannot be empty"),
        (["attribute", "--model", ""], "--model cannot be empty"),
        (["attribute", "--sites", ""], "--sites cannot be empty"),
        (["attribute", "--sites", ","], "--sites cannot be ',': name at least one"),
        (["attribute", "--topic", "cities", "--topic", ""], "--group cannot be empty"),
        (["report", ""], "RUN cannot be empty"),
        (["attribute", "--model", "x" * 300], "longer than any name"),
        (["attribute", "--saes", "x" * 300], "longer than any name"),
        (["attribute", "--out", "x/" * 3000], "longer than any name"),
        (["lists", "stats", "x" * 300], "longer than any name"),
        (["overlap", "~nobody-here/x"], "there is no user ~nobody-here"),
        (["attribute", "--model", "a\0b"], "characters that no name has"),
        (["attribute", "--temperature", "1e-320"], "--temperature cannot be 1e-320: give 0"),
        (["lists", "generate", "--temperatures", "0.5,1e-300"], "temperature 1e-300 is not allowed: give 0"),
    ],
)
def test_the_refusal_is_one_line_and_nothing_is_written(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("lists: " + "[" * 3000, "too many brackets"),
        ("a: &a [1, 1]\nb: [*a, *a]\n", "has an alias (*a)"),
        ("lists: 2020-13-45", "cannot be read: month must be in 1..12"),
        ("lists: !!int x", "cannot be read: invalid literal"),
        ("lists: !!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("lists: " + "9" * 5000, "cannot be read"),
        ("lists: 0x" + "f" * 5000, "--n-pairs cannot be a number of thousands of digits"),
        ("model: " + "x" * 300, "longer than any name"),
        ("model: ''", "--model cannot be empty"),
        ("sites: []", "--sites cannot be []"),
        ("# " + "x" * 2**18, "larger than 256 KiB"),
    ],
)
def test_a_file_of_settings_that_is_more_than_it_looks_is_refused(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["attribute", "--config", str(tmp_path / "settings.yaml"), "--out", str(tmp_path / "s")])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "s").exists()
