"""Studies of lists from a file: the same numbers as of sampled ones, and what is said of formats and malformed rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import saeattr
from saeattr import UserError
from saeattr.cli import main
from saeattr.model.loading import LanguageModel
from saeattr.study.results import Study

SMALL: dict[str, Any] = {"sites": ["resid_post.2"], "figures": False, "device": "cpu", "validate_top": 0}
#: A person's lists, in tokens that the bundled model knows: its words have the blank before them.
MIXED = [
    "- Paris\n- Tokyo\n- Rome \n",
    "* Paris\n* Tokyo\n* Rome\n",
    "1. Paris\n2. Tokyo\n3. Rome\n",
    " Paris\n Tokyo\n Rome\n",
    "- Paris\n- Tokyo\n- Rome",
    "I know none.",
    None,
]


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return saeattr.attribute("cities", lists=6, out=tmp_path_factory.mktemp("sampled") / "s", **SMALL)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "mixed.json").write_text(json.dumps(MIXED))
    return saeattr.attribute("cities", lists_from=str(folder / "mixed.json"), out=folder / "s", **SMALL)


def test_the_models_own_lists_from_their_file_give_the_same_numbers(sampled: Study, tmp_path: Path) -> None:
    stored = sampled.folder.lists / "cities.parquet"
    again = saeattr.attribute(lists_from=str(stored), out=tmp_path / "s", **SMALL)
    assert again.groups == ("cities",)
    for table in ("features", "attributions", "metric_by_point"):
        pd.testing.assert_frame_equal(getattr(again, table)("cities"), getattr(sampled, table)("cities"))
    assert list(again.lists()["source"])[:2] == ["cities.parquet row 1", "cities.parquet row 2"]
    assert set(sampled.lists()["source"]) == {"model"}


def test_each_list_is_read_in_its_own_format_and_the_study_says_so(mixed: Study, lm: LanguageModel) -> None:
    rows = mixed.pairs("cities")
    end = lm.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    words = [[lm.tokenizer.decode(list(tokens)) for tokens in row] for row in rows["unwanted"]]
    assert words[:3] == [["-"] * 3, ["*"] * 3, ["2", "3", "4"]]
    assert words[3] == [" Paris Tokyo Rome"] * 3
    assert words[4] == ["\n"] * 3
    assert {tuple(tokens) for row in rows["wanted"] for tokens in row} == {(end,)}
    assert mixed.lists()["format"] == ["hyphen", "star", "numbered", "bare", "hyphen", ""]
    openers = "- or * or the next number or an item's first token or line break"
    assert mixed.metric_label == f"logit(<end_of_turn>) - logit({openers})"
    assert list(mixed.warnings) == [
        "cities: 1 row of mixed.json left out: row 7 is neither a text nor token ids, nor an object with one of them",
        "cities: 1 of 6 lists cannot be used (the answer is not a list: no line opens with -, *, a bullet or a number, "
        "and it has not two bare lines (it starts 'I know none.'))",
        "cities: formats of the lists: 2 hyphen, 1 star, 1 numbered, 1 bare; each is read against what opens its own "
        "next item",
        "cities: 1 of 5 lists end without a line break: they are read at the last token of each item, end of turn "
        "against line break",
    ]


def test_the_metric_is_that_of_the_plain_model_at_the_stated_tokens(
    mixed: Study, lm: LanguageModel, plain_model
) -> None:
    import torch

    found = mixed.metric_by_point("cities")
    for row in mixed.pairs("cities").to_dict("records"):
        with torch.no_grad():
            logits = plain_model(input_ids=torch.tensor([list(row["clean_ids"])])).logits[0].double()
        own = found[(found["pair_id"] == row["pair_id"]) & (found["run"] == "clean")].sort_values("point")
        tokens = zip(row["positions"], row["wanted"], row["unwanted"], strict=True)
        expected = [
            float(logits[at, list(wanted)].logsumexp(0) - logits[at, list(unwanted)].logsumexp(0))
            for at, wanted, unwanted in tokens
        ]
        assert own["metric"].tolist() == pytest.approx(expected, abs=1e-4)


def test_written_lists_are_tested_by_halves(sampled: Study, tmp_path: Path) -> None:
    asked = {**SMALL, "validate_top": 1, "curves": False, "controls": 19}
    stored = str(sampled.folder.lists / "cities.parquet")
    study = saeattr.attribute(lists_from=stored, out=tmp_path / "s", **asked)
    assert study.test_pairs("cities").empty
    tested = study.validation("cities")
    assert 0 < tested["n_pairs"].max() <= len(study.pairs("cities"))


def test_a_study_does_not_go_on_with_another_file(tmp_path: Path) -> None:
    file = tmp_path / "lists.json"
    file.write_text(json.dumps(MIXED[:2]))
    asked = {**SMALL, "lists_from": str(file), "out": tmp_path / "s"}
    saeattr.attribute("cities", **asked)
    file.write_text(json.dumps(MIXED[:3]))
    with pytest.raises(UserError, match=r"holds a study with other settings \(inputs\.lists\.json is"):
        saeattr.attribute("cities", **asked)


def test_a_file_that_cannot_serve_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "lists.txt").write_text("- Paris\n")
    for name, said in [("none.txt", "cannot be read"), ("lists.txt", "name no topic")]:
        with pytest.raises(UserError, match=said):
            saeattr.attribute(out=tmp_path / "s", lists_from=str(tmp_path / name), **SMALL)
    with pytest.raises(UserError, match="--lists-from names lists, and this study is of facts: leave it out"):
        saeattr.attribute(out=tmp_path / "s", behaviour="facts", lists_from=str(tmp_path / "lists.txt"), **SMALL)
    assert not (tmp_path / "s").exists()


def test_lists_import_says_what_it_read_and_writes_what_attribute_takes(
    mixed: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(MIXED))
    out = tmp_path / "mine.parquet"
    with pytest.raises(SystemExit) as stopped:
        main(["lists", "import", str(tmp_path / "mine.json"), "--topic", "cities", "--out", str(out)])
    assert stopped.value.code == 0
    said = capsys.readouterr().out.splitlines()
    counted = "2 hyphen, 1 star, 1 numbered, 1 bare, 1 no list"
    assert said[0] == f"cities: 6 lists ({counted}) of 2.5 items; 1 without a line break at the end"
    assert said[1].startswith("left out: row 7 is neither")
    assert said[2] == f"{out}: saeattr attribute --lists-from {out}"
    again = saeattr.attribute(lists_from=str(out), out=tmp_path / "s", **SMALL)
    pd.testing.assert_frame_equal(again.features("cities"), mixed.features("cities"))
