"""A study's tables in Python are those in its folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import saeattr
from saeattr import UserError
from saeattr.files import read_table, write_table
from saeattr.sites import parse_site
from saeattr.study.reopen import opened, study_task
from saeattr.study.results import Study, load_study
from saeattr.tables import GROUP, LISTS, PAIRS, TABLES
from tests.tampered import write_tampered

SMALL: dict[str, Any] = {"lists": 2, "max_new_tokens": 20, "sites": ["resid_post.2"], "device": "cpu"}
JOINED = (
    *("pairs", "test_pairs", "attributions", "features", "active", "site_effects", "metric_by_point"),
    *("validation", "curves", "agreement"),
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("results") / "s"
    return saeattr.attribute(["rivers", "cities"], out=out, validate_top=1, figures=False, **SMALL)


@pytest.mark.parametrize("name", JOINED)
def test_a_table_of_all_groups_is_the_file_and_its_parts_are_the_groups(study: Study, name: str) -> None:
    method = getattr(study, name)
    whole = method()
    pd.testing.assert_frame_equal(whole, pd.read_parquet(study.folder.root / f"{name}.parquet"))
    assert list(whole.columns) == TABLES[name].names
    assert whole[GROUP].unique().tolist() == ["rivers", "cities"]
    for group in study.groups:
        own = whole[whole[GROUP] == group].reset_index(drop=True)
        pd.testing.assert_frame_equal(method(group), own)


def test_what_was_not_run_has_no_rows_and_the_same_columns(study: Study) -> None:
    for table, name in ((study.generation(), "generation"), (study.layer_scores(), "layer_scores")):
        assert table.empty
        assert list(table.columns) == TABLES[name].names
    assert study.features("lakes").empty


def test_a_folder_opens_as_the_study_it_holds(study: Study) -> None:
    again = load_study(study.folder.root)
    assert again.groups == study.groups == ("rivers", "cities")
    assert again.metric_label == study.metric_label == "logit(<end_of_turn>) - logit(-)"
    assert again.record == study.record
    assert opened(study) is study
    assert opened(study.folder.root) == again


def test_a_reopened_study_works_on_the_same_pairs_and_saes(study: Study) -> None:
    task = study_task(study)
    assert [(pair.group, pair.pair_id) for pair in task.pairs] == list(
        study.pairs()[["group", "pair_id"]].itertuples(index=False, name=None)
    )
    assert [tuple(ids) for ids in study.pairs()["clean_ids"]] == [pair.clean_ids for pair in task.pairs]
    assert [file.site for file in task.saes] == [parse_site("resid_post.2")]
    counted = study.metric_by_point().query("run == 'clean'").groupby(["group", "pair_id"]).size()
    assert counted.to_dict() == {(pair.group, pair.pair_id): len(pair.points) for pair in task.pairs}


def test_the_lists_are_those_of_all_groups_with_the_columns_of_their_schema(study: Study) -> None:
    lists = study.lists()
    assert lists.column_names == LISTS.names
    assert sorted(set(lists["topic"])) == ["cities", "rivers"]
    assert len(lists) == 4


@pytest.mark.parametrize("name", ["features", "attributions"])
def test_a_table_of_another_version_is_named_when_it_is_asked_for(study: Study, tmp_path: Path, name: str) -> None:
    shutil.copytree(study.folder.root, tmp_path / "s")
    path = tmp_path / "s" / f"{name}.parquet"
    write_table(path, pd.read_parquet(path).rename(columns={"group": "topic"}))
    with pytest.raises(UserError, match=f"{name}.parquet has no column 'group': it is of another version"):
        getattr(load_study(tmp_path / "s"), name)()


def test_lists_of_another_version_are_named_when_a_study_goes_on_from_them(study: Study, tmp_path: Path) -> None:
    shutil.copytree(study.folder.root, tmp_path / "s")
    path = tmp_path / "s" / "lists" / "cities.parquet"
    write_table(path, read_table(path).drop(columns="seed"))
    for part in ("pairs", "attribution", "validation"):
        shutil.rmtree(tmp_path / "s" / part / "cities")
    with pytest.raises(UserError, match="cities.parquet has no column 'seed': it is of another version"):
        saeattr.attribute("cities", out=tmp_path / "s", validate_top=0, figures=False, **SMALL)


def test_pairs_that_were_changed_by_hand_are_refused(study: Study, tmp_path: Path) -> None:
    shutil.copytree(study.folder.root, tmp_path / "s")
    path = tmp_path / "s" / "pairs" / "cities" / "pairs.parquet"
    rows = read_table(path, PAIRS)
    rows["corrupted_ids"] = rows["clean_ids"]
    write_tampered(path, rows)
    with pytest.raises(UserError, match="of 'cities' has the same clean and corrupted tokens"):
        study_task(load_study(tmp_path / "s"))
