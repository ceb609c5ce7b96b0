"""Pairs of another study are taken as they are: the same tokens, ids and points, to rank and to test."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import saeattr
from saeattr import UserError
from saeattr.behaviours.table import pairs_from_rows
from saeattr.files import read_table
from saeattr.study.results import Study
from saeattr.tables import PAIRS
from tests.tampered import write_tampered

SMALL: dict[str, Any] = {"sites": ["resid_post.2"], "device": "cpu", "figures": False, "curves": False}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("borrowed") / "source"
    return saeattr.attribute(["cities", "rivers"], out=out, lists=3, seed=4, validate_top=2, controls=19, **SMALL)


def borrow(source: Study, out: Path, group: Any = None, **settings: Any) -> Study:
    return saeattr.attribute(group, out=out, pairs_of=str(source.folder.root), **{**SMALL, **settings})


def test_the_pairs_are_those_of_the_other_study_whatever_this_one_would_draw(source: Study, tmp_path: Path) -> None:
    found = borrow(source, tmp_path / "s", validate_top=2, controls=19)
    assert found.groups == source.groups
    assert pairs_from_rows(found.pairs()) == pairs_from_rows(source.pairs())
    assert pairs_from_rows(found.test_pairs()) == pairs_from_rows(source.test_pairs())
    pd.testing.assert_frame_equal(found.attributions(), source.attributions())
    pd.testing.assert_frame_equal(found.validation(), source.validation())
    settings = found.record["settings"]
    assert (settings["n_pairs"], settings["seed"]) == (3, 4)


def test_the_study_is_validated_again_when_the_other_one_is_gone(source: Study, tmp_path: Path) -> None:
    shutil.copytree(source.folder.root, tmp_path / "lent")
    few = {"validate_top": 1, "controls": 19, **SMALL}
    found = saeattr.attribute("rivers", out=tmp_path / "s", pairs_of=str(tmp_path / "lent"), **few)
    shutil.rmtree(tmp_path / "lent")
    again = saeattr.validate(found, top=2, controls=19, curves=False, figures=False)
    assert len(again.validation()) == 2


@pytest.mark.parametrize(
    ("group", "settings", "said"),
    [
        ("animals", {}, "has no pairs of the group 'animals': it has cities, rivers"),
        (None, {"lists": 5}, "made with --n-pairs 3: leave out --n-pairs"),
        (None, {"metric": "neg-log-prob"}, "made with --metric end-vs-continue: leave out --metric"),
        (None, {"pairs": "mine.jsonl"}, "and --pairs names your own: give one of them"),
        (None, {"behaviour": "facts"}, "made with --behaviour lists: leave out --behaviour"),
    ],
)
def test_what_the_other_study_cannot_give_is_refused(
    source: Study, tmp_path: Path, group: str | None, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        borrow(source, tmp_path / "s", group, **settings)
    assert not (tmp_path / "s").exists()


def test_a_study_without_pairs_to_test_on_lends_none_to_test_on(source: Study, tmp_path: Path) -> None:
    bare = borrow(source, tmp_path / "bare", "cities", validate_top=0)
    with pytest.raises(
        UserError, match="no pairs of 'cities' to test on: run saeattr validate .* or add --no-validate"
    ):
        borrow(bare, tmp_path / "s")
    assert borrow(bare, tmp_path / "s", validate_top=0).groups == ("cities",)


def test_pairs_of_another_tokenizer_are_refused(source: Study, tmp_path: Path) -> None:
    shutil.copytree(source.folder.root, tmp_path / "lent")
    path = tmp_path / "lent" / "pairs" / "cities" / "pairs.parquet"
    rows = read_table(path, PAIRS)
    rows["clean_tokens"] = [["other", *list(tokens)[1:]] for tokens in rows["clean_tokens"]]
    write_tampered(path, rows)
    with pytest.raises(UserError, match="are of another tokenizer: token .* is 'other' there and '<bos>' here"):
        saeattr.attribute("cities", out=tmp_path / "s", pairs_of=str(tmp_path / "lent"), validate_top=0, **SMALL)


def test_a_users_own_rows_are_lent_too(tmp_path: Path) -> None:
    answers = (("France", "Paris", "Rome"), ("Italy", "Rome", "Paris"))
    rows = [
        {"clean": f"The capital of {here} is", "corrupted": f"The capital of {there} is", "answer": f" {right}"}
        | {"wrong": f" {wrong}"}
        for (here, right, wrong), (there, _, _) in zip(answers, answers[::-1], strict=True)
    ]
    given = saeattr.attribute(pairs=rows, out=tmp_path / "given", validate_top=0, **SMALL)
    found = saeattr.attribute(out=tmp_path / "s", pairs_of=str(tmp_path / "given"), validate_top=0, **SMALL)
    assert found.groups == given.groups
    assert found.metric_label == given.metric_label
    pd.testing.assert_frame_equal(found.attributions(), given.attributions())


def test_the_pairs_of_lists_from_a_file_are_halved_there_and_here(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    lists = [["Paris", "Lima"], ["Tokyo", "Paris", "Rome"], ["Lima", "Rome"], ["Rome", "Paris"]]
    file.write_text("\n\n".join("\n".join(f"- {item}" for item in items) for items in lists), encoding="utf-8")
    few = {"validate_top": 1, "controls": 19, **SMALL}
    lent = saeattr.attribute("cities", lists_from=str(file), out=tmp_path / "lent", **few)
    found = borrow(lent, tmp_path / "s", validate_top=1, controls=19)
    pd.testing.assert_frame_equal(found.validation(), lent.validation())
    assert len(found.validation()) > 0
