"""saeattr recall on the command line: exit codes, one line for what cannot be used, files that go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from saeattr.cli import main
from tests.recall.facts.test_battery import ROW
from tests.test_cli_flags import call

BAD = {**ROW, "clean_target": " New York"}
SWAPPED = {**ROW, "clean_target": " Lima", "corrupt_target": " Paris"}


def run(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["recall", *arguments])
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are not folded."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.json").write_text(json.dumps([ROW, BAD, SWAPPED]), encoding="utf-8")
    return tmp_path / "mine.json"


def test_check_counts_what_can_be_asked_and_writes_why_the_rest_cannot(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = file.parent / "faults.csv"
    code, printed, _ = run(["check", str(file), "--device", "cpu", "--faults", str(faults)], capsys)
    assert code == 0
    assert (
        "mine.json: 2 of 3 rows can be asked of bundled, which knows the fact in 1 of them (1 fact, 1 category)"
        in printed
    )
    assert "rows that are left out: 2" in printed
    written = pd.read_csv(faults)
    assert list(written["row"]) == [2, 3]
    assert written["reason"][0] == "clean_target ' New York' is 2 tokens, and must be one"


def test_nothing_that_can_be_asked_is_one_line_and_nothing_known_a_table_both_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps([BAD]), encoding="utf-8")
    code, printed, error = run(["check", str(file), "--device", "cpu"], capsys)
    assert (code, printed) == (2, "")
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: none of the 1 rows of mine.json can be asked of this model; row 1 (France 1)")
    file.write_text(json.dumps([SWAPPED]), encoding="utf-8")
    code, printed, _ = run(["triage", str(file), "--device", "cpu", "--out", str(tmp_path / "t")], capsys)
    assert code == 2
    assert "1 of 1 rows can be asked" in printed
    assert "prefers ' Paris' to ' Lima'" in printed


def test_triage_writes_what_pairs_check_takes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = file.parent / "t"
    code, printed, _ = run(["triage", str(file), "--device", "cpu", "--out", str(out), "--selection", "c"], capsys)
    assert code == 0
    assert "selection C: every known fact" in printed
    with pytest.raises(SystemExit) as stopped:
        main(["pairs", "check", str(out / "selected.jsonl")])
    assert not stopped.value.code
    assert "1 of 1 rows make a pair" in capsys.readouterr().out
    code, printed, _ = run(["beside", str(out), str(out)], capsys)
    assert code == 0
    assert "2 rows asked of both: 1 known to both" in printed
    assert "median change over facts +0.00 [too few facts] logits" in printed


def test_patch_goes_on_with_a_triage_and_prints_where_facts_leave_their_entity(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = file.parent / "t"
    run(["triage", str(file), "--device", "cpu", "--out", str(out), "--no-figures"], capsys)
    study = file.parent / "s"
    code, printed, _ = run(["patch", str(out), "--out", str(study), "--device", "cpu", "--no-figures"], capsys)
    assert code == 0
    assert "1 facts patched in bundled, 6 layers" in printed
    table = pd.read_csv(study / "recall" / "recall_release.csv")
    (layer,) = table.query("direction == 'noising' and place == 'entity'")["release_layer"]
    assert f"noising: of 1 facts the entity keeps less than 20% of its maximum from layer {layer} (1) on" in printed
    assert not list((study / "recall").glob("*.png"))


def test_a_battery_is_written_and_checked_as_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = run(["write", "world", "--out", str(tmp_path / "w.jsonl")], capsys)
    assert code == 0
    rows = (tmp_path / "w.jsonl").read_text(encoding="utf-8").splitlines()
    assert printed.strip() == f"{tmp_path / 'w.jsonl'}: {len(rows)} rows"
    assert json.loads(rows[0]) == ROW | {"corrupt_prompt": "The capital of Italy is", "corrupt_target": " Rome"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "a.json", "--battery", "world"], "a.json and --battery world are both given"),
        (["check", "--battery", "words"], "there is no battery 'words': choose one of world, facts"),
        (["check", "none.json"], "there is no file of facts 'none.json'"),
        (["triage", "--selection", "D"], "'D' is not a selection"),
        (["patch", "none.json"], "there is no file of facts 'none.json'"),
        (["patch", "--under", "2"], "--under cannot be 2"),
        (["beside", "runs/none", "runs/none"], "runs/none holds no triage"),
        (["compare", "runs/none", "runs/none"], "runs/none is not a study folder"),
        (["write", "world", "--out", "w.txt"], "--out cannot be 'w.txt'"),
        (["write", "worlds", "--out", "w.json"], "there is no battery 'worlds'"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, error = run(arguments, capsys)
    assert (code, printed) == (2, "")
    assert error.startswith("error: ")
    assert said in error
    assert len(error.splitlines()) == 1


def test_flags_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {**dict.fromkeys(("model", "dtype", "device", "batch_size", "config")), "chat": False}
    assert call(monkeypatch, "saeattr.api.check_recall", ["recall", "check"]) == ((None,), own)
    assert call(monkeypatch, "saeattr.api.check_recall", ["recall", "check", "--battery", "world"])[0] == ("world",)
    flags = ["--model", "m", "--dtype", "float16", "--device", "cpu", "--batch-size", "3"]
    flags += ["--selection", "B", "--out", "o", "--no-figures", "--chat", "--config", "c.yaml"]
    wanted = {"model": "m", "dtype": "float16", "device": "cpu", "batch_size": 3}
    wanted |= {"selection": "B", "out": Path("o"), "figures": False, "chat": True, "config": Path("c.yaml")}
    assert call(monkeypatch, "saeattr.api.triage", ["recall", "triage", "a.json", *flags]) == (("a.json",), wanted)
    flags += ["--under", "0.3"]
    found = call(monkeypatch, "saeattr.api.patch_recall", ["recall", "patch", "t", *flags])
    assert found == (("t",), {**wanted, "under": 0.3})
    found = call(monkeypatch, "saeattr.api.run_recall", ["recall", "run", "t", *flags, "--parts", "localisation"])
    assert found == (("t",), {**wanted, "under": 0.3, "parts": "localisation"})
    found = call(monkeypatch, "saeattr.api.triage_beside", ["recall", "beside", "a", "b", "--out", "o"])
    assert found == ((Path("a"), Path("b")), {"out": Path("o")})
    found = call(monkeypatch, "saeattr.api.compare_recall", ["recall", "compare", "a", "b", "--out", "o"])
    assert found == ((Path("a"), Path("b")), {"out": Path("o")})


def test_the_help_names_every_part() -> None:
    import inspect

    from saeattr.cli.recall import run
    from saeattr.study.recall.parts import PARTS

    said = str(inspect.signature(run, eval_str=True).parameters["parts"].annotation.__metadata__[0].help)
    names = [part.name for part in PARTS]
    assert f"{', '.join(names[:-1])} and {names[-1]}" in said
