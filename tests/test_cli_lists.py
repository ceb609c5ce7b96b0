"""``saeattr lists``: what each command says and writes, and what it refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import saeattr
from saeattr import UserError
from saeattr.cli import main
from saeattr.tables import LIST_BLANKS, LIST_EXCEPTIONS, LIST_STATISTICS, LIST_SUMMARY
from tests.corpus.conftest import MARKS, conversation

GENERATE = ["lists", "generate", "--lists", "3", "--max-new-tokens", "60", "--device", "cpu"]


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


def test_lists_are_generated_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "lists"
    flags = [
        "--topic",
        "cities",
        "--topic",
        "birds",
        "--temperatures",
        "0.3,1",
        "--request",
        "plain",
        "--out",
        str(out),
    ]
    code, said, _ = run([*GENERATE, *flags], capsys)
    assert (code, said) == (0, f"{out}: saeattr lists stats {out}\n")
    code, said, _ = run(["lists", "stats", str(out), "--out", str(tmp_path / "stats")], capsys)
    assert code == 0
    assert "12 lists of 2 topics, 3 each" in said
    assert "blanks against temperature" in said
    for table in (LIST_STATISTICS, LIST_SUMMARY, LIST_BLANKS, LIST_EXCEPTIONS):
        found = pd.read_parquet(tmp_path / "stats" / f"{table.name}.parquet")
        assert list(found) == table.names
        assert len(pd.read_csv(tmp_path / "stats" / f"{table.name}.csv")) == len(found)
    found = pd.read_parquet(tmp_path / "stats" / "list_statistics.parquet")
    assert set(found["request"]) == {"plain"}
    assert found["on_policy"].all()
    stored = [pd.read_parquet(path) for path in sorted((out / "data").iterdir())]
    assert found["n_items"].tolist() == [len(items) for part in stored for items in part["items"]]
    figures = {path.stem for path in (tmp_path / "stats").glob("*.png")}
    assert figures == {"lists-items", "lists-blanks", "lists-temperatures", "lists-tokens"}


def test_python_and_the_command_line_count_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = tmp_path / "ids.json"
    ids.write_text(
        json.dumps({"towns": [conversation("-|Lima|\n|-|New|York| |\n|<end>"), conversation("-|Lima", "long")]})
    )
    found = saeattr.list_statistics(ids, marks=MARKS)
    assert found.summary[["request", "n_lists", "n_items", "no_list"]].to_numpy().tolist() == [
        ["short", 1, 2.0, 0],
        ["long", 0, pytest.approx(float("nan"), nan_ok=True), 1],
    ]
    assert found.tokens_of == "the ids themselves"
    found.write(tmp_path / "python")
    run(["lists", "stats", str(ids), "--marks", MARKS, "--out", str(tmp_path / "command")], capsys)
    for name in ("list_statistics.csv", "list_summary.csv", "lists-items.png"):
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()


def test_what_is_left_out_is_named_and_unknown_tokens_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(["- \u6771\u4eac \n- Lima\n", 7, "I know none."]))
    code, said, _ = run(["lists", "stats", str(file), "--topic", "towns", "--marks", MARKS], capsys)
    assert code == 0
    assert "left out: mine.json: row 2 is neither a text nor token ids" in said
    assert "1 answer is no list: towns" in said
    assert "1 list of 1 topic" in said
    assert "tokens are not counted where the tokenizer does not know the text" in said


def test_model_lists_and_others_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run([*GENERATE, "--topic", "cities", "--out", str(tmp_path / "own")], capsys)
    (tmp_path / "mine.txt").write_text("- Paris\n- Lima\n")
    run(
        ["lists", "import", str(tmp_path / "mine.txt"), "--topic", "cities", "--out", str(tmp_path / "m.parquet")],
        capsys,
    )
    table = saeattr.list_statistics(tmp_path / "own", tmp_path / "m.parquet").summary
    assert table[["source", "on_policy", "request", "n_lists"]].to_numpy().tolist() == [
        ["own", True, "short", 3],
        ["m.parquet", False, "short", 1],
    ]
    _, said, _ = run(["lists", "stats", str(tmp_path / "own"), str(tmp_path / "m.parquet")], capsys)
    assert "m.parquet" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "--request", "tiny"], "'tiny' is not a request: choose one of short, long, plain, few, many"),
        (["generate", "--temperature", "12"], "--temperature cannot be 12"),
        (["generate", "--temperatures", "0.5,hot"], "--temperatures cannot be '0.5,hot': give numbers with commas"),
        (["generate", "--temperatures", "0.5,11"], "temperature 11 is not allowed"),
        (["generate", "--temperatures", "0.5", "--temperature", "1"], "leave out --temperature"),
        (["generate", "--lists", "2", "--lists", "3"], "--lists is given twice"),
        (["stats", "none.json"], "there are no lists 'none.json'"),
        (["stats", "FOLDER"], "holds no lists"),
        (["stats", "FILE", "--request", "tiny"], "'tiny' is not a request"),
        (["stats", "FILE", "--marks", "end=1"], "--marks has no header"),
        (["stats", "FILE", "--marks", "end=1", "--model", "bundled"], "leave out --model"),
        (["import", "none.json"], "there are no lists 'none.json'"),
        (["import", "FILE"], "name no topic: say what they are of, with one --topic"),
        (["import", "FILE", "--request", "tiny"], "'tiny' is not a request"),
    ],
)
def test_bad_input_ends_in_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine.json").write_text('["- a\\n"]')
    places = {"FOLDER": str(tmp_path / "folder"), "FILE": str(tmp_path / "mine.json")}
    where = ["--out", str(tmp_path / "out")] if arguments[0] != "stats" else []
    code, out, err = run(["lists", *(places.get(one, one) for one in arguments), *where], capsys)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "out").exists()


def test_sources_of_several_models_need_the_one_whose_tokens_count(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "data" / "a.parquet").write_bytes(b"")
        (tmp_path / name / "lists.yaml").write_text(f"format: 1\nmodel: {{asked: org/{name}}}\n")
    with pytest.raises(UserError, match="are of the models org/one, org/other: say whose tokens count, with --model"):
        saeattr.list_statistics(tmp_path / "one", tmp_path / "other")
    with pytest.raises(UserError, match="name one or more sources of lists"):
        saeattr.list_statistics()
