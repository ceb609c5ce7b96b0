"""Rows written into a file are read back as the pairs that the behaviour makes itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from saeattr import UserError
from saeattr.behaviours.behaviour import Request
from saeattr.behaviours.given.behaviour import Given
from saeattr.behaviours.given.source import read_source
from saeattr.behaviours.ready import READY
from saeattr.behaviours.ready.export import draw_rows, find_ready, write_rows
from saeattr.cli import main
from saeattr.model.loading import LanguageModel
from saeattr.settings import StudySettings


def run(arguments: list[str]) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", READY)
def test_a_file_gives_the_pairs_that_the_behaviour_makes(
    name: str, lm: LanguageModel, whole: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    behaviour, speaker = find_ready(name), dataclasses.replace(lm, tokenizer=whole)
    write_rows(draw_rows(behaviour, ["all"], whole, 4, 3), tmp_path / "rows.jsonl")
    given = Given(read_source(tmp_path / "rows.jsonl"))
    settings = StudySettings(n_pairs=4, seed=3)
    assert given.groups(["all"]) == behaviour.groups(["all"])
    contrasts = [one.contrast(whole, settings) for one in (behaviour, given)]
    assert contrasts[0] == contrasts[1]
    for group in behaviour.groups(["all"]):
        own, read = (one.pairs(group, Request(speaker, settings, contrasts[0], tmp_path)) for one in (behaviour, given))
        assert own.pairs == read.pairs
        assert len(own.pairs) == 4
        # Every row that was drawn makes a pair.
        assert read.warnings == []


def test_roles_are_the_spans_names(lm: LanguageModel, whole: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    speaker, settings = dataclasses.replace(lm, tokenizer=whole), StudySettings(n_pairs=20)
    behaviour = find_ready("ioi")
    request = Request(speaker, settings, behaviour.contrast(whole, settings), tmp_path)
    for pair in behaviour.pairs("baba", request).pairs:
        words = [str(whole.convert_ids_to_tokens(token)).strip() for token in pair.clean_ids]
        said = {role: words[at] for at, role in enumerate(pair.roles)}
        assert said["S1"] == said["S2"] != said["IO"]
        assert pair.roles[0] == "bos"
        assert pair.roles[-1] == "last"
        assert pair.changed_positions == (pair.roles.index("S2"),)
        assert whole.convert_ids_to_tokens(list(pair.points[0].wanted)) == [f" {said['IO']}"]


def test_rows_without_named_groups_are_of_the_default_ones(whole: PreTrainedTokenizerFast) -> None:
    rows = draw_rows(find_ready("ioi"), (), whole, 3, 0)
    assert [row["group"] for row in rows.rows] == ["abba"] * 3 + ["baba"] * 3
    assert rows.notes == ["ioi: 80 of 80 names are single tokens"]


def test_the_command_writes_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "ioi.jsonl"
    arguments = ["pairs", "write", "--behaviour", "ioi", "--n-pairs", "5", "--out", str(out)]
    assert run(arguments) == 0
    assert capsys.readouterr().out.splitlines() == ["ioi: 7 of 80 names are single tokens", f"{out}: 10 rows"]
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 10
    assert all(line["clean"] != line["corrupted"] for line in lines)
    # What may have been edited is not written over.
    assert run(arguments) == 2
    assert "is there already, and may have been edited" in capsys.readouterr().err
    assert run(["pairs", "check", str(out)]) == 0
    assert "10 of 10 rows make a pair" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--behaviour", "facts", "--out", "x.jsonl"], "the pairs of facts are not drawn from templates: choose one"),
        (["--behaviour", "ioi", "--out", "x.csv"], "--out cannot be 'x.csv': the rows are JSON lines"),
        (["--behaviour", "ioi", "--group", "abcd", "--out", "x.jsonl"], "ioi has no group 'abcd'"),
        (["--behaviour", "pronoun", "--out", "x.jsonl"], "pronoun cannot be asked of this model: ' she' and ' he' are"),
    ],
)
def test_what_cannot_be_written_is_refused_in_a_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["pairs", "write", *arguments]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert said in told
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_without_the_words_is_refused_before_a_study_begins(lm: LanguageModel) -> None:
    with pytest.raises(UserError, match="agreement cannot be asked of this model: 0 of 22 people"):
        find_ready("agreement").check(lm.tokenizer, ["across-rc"])
