"""Files of pairs on the command line: what is wrong with one is one line, exit code 2, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from saeattr.cli import main
from saeattr.study.results import load_study

ROW = {"clean": "The capital of France is", "corrupted": "The capital of Peru is", "answer": " Paris", "wrong": " Lima"}
SMALL = ["--sites", "resid_post.2", "--device", "cpu", "--no-validate", "--no-figures"]


def run(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def refused(file: str | Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The one line of a refusal by ``attribute`` that left nothing behind."""
    out = Path(file).absolute().parent / "study"
    code, printed, error = run(["attribute", "--pairs", str(file), "--out", str(out), *SMALL, *more], capsys)
    assert (code, printed) == (2, "")
    assert len(error.splitlines()) == 1
    assert error.startswith("error: ")
    assert not out.exists()
    return error.removeprefix("error: ").strip()


def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "p.jsonl", [ROW])
    assert refused(file, capsys, "--columns", "clean=prompt") == (
        "p.jsonl has no column 'prompt': it has clean, corrupted, answer, wrong"
    )
    assert (
        refused(tmp_path, capsys)
        == f"{tmp_path} is a folder: give a file of pairs in it (.jsonl, .json, .csv, .parquet)"
    )
    assert refused(tmp_path / "q.jsonl", capsys).startswith("there is no file of pairs ")
    assert (
        refused(written(tmp_path / "empty.jsonl", []), capsys)
        == "empty.jsonl has no rows: one row is one pair of prompts"
    )
    for suffix in ("jsonl", "json", "csv", "parquet"):
        (tmp_path / f"bad.{suffix}").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe\x00" * 20)
        assert refused(tmp_path / f"bad.{suffix}", capsys).startswith(
            f"{tmp_path}/bad.{suffix} cannot be read as {suffix}: "
        )
    assert (
        refused(file, capsys, "--behaviour", "facts")
        == "--pairs is a behaviour of its own: leave out --behaviour facts"
    )


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"answer": " Qxv"}, "the answer is 3 tokens: give one token, or --metric log-prob-difference"),
        ({"corrupted": ROW["clean"]}, "clean and corrupted prompt are the same: change one of them"),
        ({"corrupted": None}, "there is no corrupted prompt: fill the column corrupted, or use --base zero or mean"),
        ({"corrupted": "The capital city of Peru is"}, "the clean prompt has 6 tokens and the corrupted one 7: "),
        (
            {name: ROW[name] + " and" * 600 for name in ("clean", "corrupted")},
            "it has 606 tokens, and the model reads 512: ",
        ),
    ],
)
def test_rows_none_of_which_makes_a_pair_are_refused_with_the_first_reason(
    cells: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "p.jsonl", [{**ROW, **cells}, {**ROW, **cells}])
    error = refused(file, capsys, "--metric", "logit-difference")
    assert error.startswith(f"none of the 2 rows of 'pairs' in p.jsonl can be used; row 1: {said}")
    code, printed, _ = run(["pairs", "check", str(file), "--metric", "logit-difference"], capsys)
    assert code == 2
    assert "0 of 2 rows make a pair" in printed
    assert "rows that make no pair: 2" in printed


def test_chats_and_plain_prompts_in_one_group_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "p.jsonl", [ROW, {**ROW, "chat": True}])
    said = "the group 'pairs' of p.jsonl has 1 chats and 1 plain prompts: give them different groups"
    assert refused(file, capsys) == said
    code, _, error = run(["pairs", "check", str(file)], capsys)
    assert (code, error.strip()) == (2, f"error: {said}")


def test_ten_thousand_groups_are_refused_unless_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**ROW, "relation": f"g{number}"} for number in range(10_000)]
    file = written(tmp_path / "p.jsonl", rows)
    columns = ["--columns", "group=relation"]
    assert refused(file, capsys, *columns) == (
        "p.jsonl has 10000 groups (g0, g1, g2, g3, g4, g5, g6, g7, ...), and each is attributed by itself: name up to "
        "a few with --group, or take another column with --columns group=NAME"
    )
    out = tmp_path / "one"
    command = ["attribute", "--pairs", str(file), *columns, "--group", "g7", "--out", str(out), *SMALL]
    assert run(command, capsys)[0] == 0
    study = load_study(out)
    assert study.groups == ("g7",)
    assert list(study.pairs()["pair_id"]) == ["00008"]


def test_one_bad_row_in_a_thousand_is_named_and_counted_and_the_rest_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Distinct pairs are few, so that the rest is quick; every row counts.
    rows = [{**ROW, "id": f"n{number}"} for number in range(1000)]
    rows[499] = {**ROW, "id": "n499", "corrupted": ROW["clean"]}
    file = written(tmp_path / "p.jsonl", rows)
    out = tmp_path / "study"
    code, printed, _ = run(["attribute", "--pairs", str(file), "--out", str(out), *SMALL], capsys)
    assert code == 0
    said = "pairs: 1 of 1000 rows cannot be used; row 500 (n499): clean and corrupted prompt are the same"
    assert said in " ".join(printed.split())
    assert list(load_study(out).pairs()["times"]) == [999]
    code, printed, _ = run(["pairs", "check", str(file), "--show", "0"], capsys)
    assert code == 0
    assert "999 of 1000 rows make a pair" in printed
    assert "n499" in printed


def test_check_prints_pairs_token_by_token_and_writes_what_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    file = written(tmp_path / "p.jsonl", [{**ROW, "id": "one"}, {**ROW, "id": "two", "wrong": " Paris"}])
    faults = tmp_path / "faults.csv"
    code, printed, _ = run(["pairs", "check", str(file), "--faults", str(faults)], capsys)
    assert code == 0
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines() if "│" in line]
    assert ["4", "' France'", "' Peru'", "changed", ""] in lines
    assert ["5", "' is'", "' is'", "last", "here"] in lines
    assert faults.read_text().splitlines() == [
        "row,id,reason,mend",
        "2,two,a token is both answer and wrong answer,name it once",
    ]


def test_a_studys_pairs_are_exported_and_checked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "p.jsonl", [{**ROW, "id": "one", "group": "g"}])
    out, exported = tmp_path / "study", tmp_path / "again.jsonl"
    assert run(["attribute", "--pairs", str(file), "--out", str(out), *SMALL], capsys)[0] == 0
    code, printed, _ = run(["pairs", "export", str(out), "--out", str(exported)], capsys)
    assert code == 0
    assert "".join(printed.split()) == f"1rowsin{exported}"
    assert [json.loads(line) for line in exported.read_text().splitlines()] == [{**ROW, "id": "one", "group": "g"}]
    code, _, error = run(["pairs", "export", str(out), "--out", str(tmp_path / "again.xlsx")], capsys)
    assert code == 2
    assert "pairs are exported as JSON lines, .jsonl or .json" in error
