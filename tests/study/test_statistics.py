"""A study that counts its lists: its own, and as many behind the other request."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

import saeattr
from saeattr import UserError
from saeattr.api.exploring import explore
from saeattr.files import read_table
from saeattr.progress import quiet
from saeattr.reporting.figures.of_lists import figures
from saeattr.study.results import Study
from saeattr.study.statistics import Statistics
from saeattr.tables import LIST_BLANKS, LIST_STATISTICS, LIST_SUMMARY, LISTS

SMALL = {"lists": 3, "device": "cpu"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("statistics") / "s"
    return explore(["cities", "birds"], [Statistics()], dict(SMALL), out=out, on_progress=quiet)


def test_own_lists_and_long_ones_are_counted_topic_by_topic(study: Study) -> None:
    table = Statistics.read(study.folder, LIST_SUMMARY)
    rows = table[["group", "request", "n_lists"]].to_numpy().tolist()
    assert rows == [["cities", "short", 3], ["cities", "long", 3], ["birds", "short", 3], ["birds", "long", 3]]
    for folder, request in (("lists", "short"), ("reversed_lists", "long")):
        stored = read_table(study.folder.root / folder / "birds.parquet", LISTS)
        own = Statistics.read(study.folder, LIST_STATISTICS, "birds")
        own = own[own["request"] == request]
        assert own["n_items"].tolist() == [len(items) for items in stored["items"]]
        assert own["list_id"].tolist() == stored["list_id"].tolist()
    assert set(Statistics.read(study.folder, LIST_BLANKS, "birds")["group"]) == {"birds"}


def test_it_opens_no_sae_is_not_done_twice_and_attribute_goes_on_behind_it(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("saeattr.study.hands.load_model", None)
        explore(["cities", "birds"], [Statistics()], dict(SMALL), out=study.folder.root, on_progress=quiet)
    before = Statistics.read(study.folder, LIST_SUMMARY)
    asked = {"sites": ["resid_post.4"], "validate_top": 0, "figures": False, **SMALL}
    later = saeattr.attribute("cities", out=study.folder.root, **asked)
    assert not later.features("cities").empty
    pd.testing.assert_frame_equal(Statistics.read(later.folder, LIST_SUMMARY), before)


def test_its_figures_stand_in_a_section_of_their_own(study: Study) -> None:
    found = list(figures(study))
    assert [(figure.name, figure.section) for figure in found] == [
        ("lists-items", "lists"),
        ("lists-blanks", "lists"),
        ("lists-tokens", "lists"),
    ]
    assert all(source.exists() for figure in found for source in figure.sources)
    assert {path.stem for path in study.figures} >= {figure.name for figure in found}
    assert list(figures(dataclasses.replace(study, groups=("rivers",)))) == []


def test_lists_of_a_file_stand_alone_and_other_behaviours_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("- Paris\n- Lima\n\n- Rome\n")
    settings = {"lists_from": str(tmp_path / "mine.txt"), **SMALL}
    found = explore("cities", [Statistics()], settings, out=tmp_path / "s", figures=False, on_progress=quiet)
    table = Statistics.read(found.folder, LIST_SUMMARY)
    assert table[["n_lists", "n_items", "on_policy"]].to_numpy().tolist() == [[2, 1.5, False]]
    with pytest.raises(UserError, match="statistics are of lists, and this study is of facts: leave them out"):
        explore(None, [Statistics()], {"behaviour": "facts", **SMALL}, out=tmp_path / "f", on_progress=quiet)
