"""Files of pairs in shapes that others publish run unchanged, with the commands of docs/extending.md."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

import saeattr
from saeattr.behaviours.facts.behaviour import fact_pairs, relations
from saeattr.behaviours.pair import Pair
from saeattr.cli import main
from saeattr.model.loading import find_model, load_tokenizer
from saeattr.study.results import load_study

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Published files of pairs\n")[2].partition("\n## ")[0]
COMMANDS = {
    re.findall(r"--pairs (\S+)", line)[0]: line
    for line in re.findall(r"^    python -m saeattr (.+)$", SECTION, flags=re.MULTILINE)
}
SMALL = ["--sites", "resid_post.2", "--device", "cpu", "--no-figures", "--no-validate", "--out", "study"]


@pytest.fixture(scope="module")
def facts() -> list[Pair]:
    tokenizer = load_tokenizer(find_model("bundled", weights=False))
    return fact_pairs(tokenizer, relations()["capitals"])[0][:6]


@pytest.fixture
def texts(facts: list[Pair]) -> list[dict[str, str]]:
    """The facts as texts, by what each is."""
    tokenizer = load_tokenizer(find_model("bundled", weights=False))
    return [
        {
            "clean": str(tokenizer.decode(list(pair.clean_ids[1:]))),
            "corrupted": str(tokenizer.decode(list(pair.corrupted_ids or ())[1:])),
            "answer": str(tokenizer.decode(list(pair.points[0].wanted))),
            "wrong": str(tokenizer.decode(list(pair.points[0].unwanted))),
        }
        for pair in facts
    ]


def run(command: str) -> pd.DataFrame:
    """The study's pairs after a command of the page."""
    with pytest.raises(SystemExit) as stopped:
        main([*shlex.split(command), *SMALL])
    assert not stopped.value.code
    return load_study("study").pairs()


def check(found: pd.DataFrame, facts: list[Pair]) -> None:
    assert [tuple(ids) for ids in found["clean_ids"]] == [pair.clean_ids for pair in facts]
    assert [tuple(ids) for ids in found["corrupted_ids"]] == [pair.corrupted_ids for pair in facts]
    for side in ("wanted", "unwanted"):
        expected = [[getattr(point, side) for point in pair.points] for pair in facts]
        assert [[tuple(ids) for ids in points] for points in found[side]] == expected


def test_an_agreement_file_with_prefixes_runs(
    facts: list[Pair], texts: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"clean": "clean_prefix", "corrupted": "patch_prefix", "answer": "clean_answer", "wrong": "patch_answer"}
    rows = [{**{names[key]: text for key, text in row.items()}, "case": "singular_plural"} for row in texts]
    (example,) = re.findall(r"^`(\{.+\})`", SECTION, flags=re.MULTILINE)
    assert list(json.loads(example)) == list(rows[0])
    Path("agreement.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    check(run(COMMANDS["agreement.json"]), facts)
    assert set(load_study("study").given()["case"]) == {"singular_plural"}


def test_a_csv_with_token_ids_runs(
    facts: list[Pair], texts: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Path("pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clean", "corrupted", "correct_idx", "incorrect_idx"])
        for row, pair in zip(texts, facts, strict=True):
            (point,) = pair.points
            writer.writerow([row["clean"], row["corrupted"], point.wanted[0], point.unwanted[0]])
    check(run(COMMANDS["pairs.csv"]), facts)


def test_three_lines_of_python_read_another_shape(
    facts: list[Pair], texts: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": row["clean"], "counterfactual": row["corrupted"], "answers": [row["answer"], row["wrong"]]}
        for row in texts
    ]
    Path("published.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (code,) = re.findall(r"```python\n(.*?)```", SECTION, flags=re.DOTALL)
    assert len(code.strip().splitlines()) == 3
    quick = 'sites=["resid_post.2"], device="cpu", figures=False, validate_top=0, out='
    exec(compile(code.replace("out=", quick), "docs/extending.md", "exec"), {"pd": pd, "saeattr": saeattr})
    check(load_study("runs/published").pairs(), facts)
