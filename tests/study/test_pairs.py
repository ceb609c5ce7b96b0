"""Each distinct pair is kept once and weighs as often as it was drawn; fresh pairs test what others ranked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import saeattr
from saeattr.study.results import Study, load_study
from saeattr.tables import FEATURE

#: Lists drawn at a low temperature, so that some come twice.
OFTEN: dict[str, Any] = {
    **{"lists": 8, "temperature": 0.1, "sites": ["resid_post.5"]},
    **{"curves": False, "controls": 19, "figures": False, "device": "cpu"},
}
LATER: dict[str, Any] = {"top": 2, "curves": False, "controls": 19, "figures": False, "device": "cpu"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("pairs") / "s"
    return saeattr.attribute("cities", out=out, validate_top=2, validate_lists=6, **OFTEN)


def token_ids(table: pd.DataFrame) -> list[tuple[int, ...]]:
    return [tuple(ids) for ids in table["clean_ids"]]


def test_a_distinct_list_is_one_pair_with_how_often_it_was_drawn(study: Study) -> None:
    drawn = Counter(tuple(ids) for ids in study.lists()["token_ids"])
    pairs = study.pairs()
    # A counter keeps the order in which its keys came first.
    assert dict(zip(token_ids(pairs), pairs["times"], strict=True)) == dict(drawn)
    assert token_ids(pairs) == list(drawn)
    assert pairs["times"].sum() == 8
    assert pairs["times"].max() > 1
    assert f"cities: {len(pairs)} distinct lists among 8: the same tokens are one pair" in study.warnings


def test_a_features_mean_is_over_all_lists_that_were_drawn_and_its_median_over_distinct_ones(study: Study) -> None:
    pairs, rows, features = study.pairs(), study.attributions(), study.features()
    of_pair = dict(zip(token_ids(pairs), pairs["pair_id"], strict=True))
    every_list = [of_pair[tuple(ids)] for ids in study.lists()["token_ids"]]
    sums = rows.groupby([*FEATURE, "pair_id"])["effect"].sum()
    unweighted = []
    for row in features.head(30).to_dict("records"):
        own = sums.loc[row["layer"], row["kind"], row["feature"]]
        by_hand = np.mean([own.get(pair_id, 0.0) for pair_id in every_list])
        distinct = [own.get(pair_id, 0.0) for pair_id in pairs["pair_id"]]
        assert row["effect_mean"] == pytest.approx(by_hand, rel=1e-4, abs=1e-6)
        assert row["effect_median"] == pytest.approx(np.median(distinct), rel=1e-4, abs=1e-6)
        assert row["n_pairs"] == len(own)
        unweighted.append(np.mean(distinct))
    # The weights are seen in the means.
    assert np.abs(features["effect_mean"].head(30) - unweighted).max() > 1e-3


def test_greedy_sampling_gives_one_pair_and_no_verdict_and_says_so(tmp_path: Path) -> None:
    settings = {**OFTEN, "temperature": 0.0, "lists": 3}
    greedy = saeattr.attribute("cities", out=tmp_path / "s", validate_top=2, **settings)
    assert greedy.pairs()["times"].tolist() == [3]
    assert greedy.test_pairs().empty
    assert greedy.validation().empty
    assert greedy.validation("cities").empty
    assert greedy.power("cities") == ""
    assert len(greedy.features("cities")) > 10
    told = [warning for warning in greedy.warnings if "1 distinct list" in warning]
    assert told == [
        "cities: 1 distinct list among 3: the same tokens are one pair",
        "cities: 1 distinct list, and every one drawn to test on repeats what ranked: nothing can be tested",
    ]
    again = saeattr.attribute("cities", out=tmp_path / "s", validate_top=2, **settings)
    assert again.validation().empty


def test_no_pair_that_tests_is_one_that_ranked(study: Study) -> None:
    ranked, fresh = token_ids(study.pairs()), token_ids(study.test_pairs())
    assert fresh
    assert len(set(fresh)) == len(fresh)
    assert not set(ranked) & set(fresh)
    assert study.test_pairs()["times"].sum() <= 6
    exact = pd.read_parquet(study.folder.root / "validation" / "cities" / "exact.parquet")
    for evidence, table in (("ranking", study.pairs()), ("test", study.test_pairs())):
        assert set(exact.loc[exact["evidence"] == evidence, "pair_id"]) == set(table["pair_id"])
    assert set(study.validation()["n_pairs"]) == {len(fresh)}


def test_another_number_of_lists_to_test_on_makes_the_validation_again_from_a_prefix(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = study.test_pairs()
    attributed = (study.folder.root / "attribution" / "cities" / "features.parquet").stat().st_mtime_ns
    more = saeattr.validate(study.folder.root, validate_lists=14, **LATER)
    many = more.test_pairs()
    assert len(many) > len(few)
    assert token_ids(many)[: len(few)] == token_ids(few)
    assert (many["times"].head(len(few)).to_numpy() >= few["times"].to_numpy()).all()
    assert set(more.validation()["n_pairs"]) == {len(many)}
    assert (study.folder.root / "attribution" / "cities" / "features.parquet").stat().st_mtime_ns == attributed
    with monkeypatch.context() as patch:
        patch.setattr("saeattr.study.hands.load_model", None)
        saeattr.validate(study.folder.root, validate_lists=14, **LATER)
    fewer = saeattr.validate(study.folder.root, validate_lists=6, **LATER)
    pd.testing.assert_frame_equal(fewer.test_pairs(), few)
    assert set(fewer.validation()["n_pairs"]) == {len(few)}
    assert load_study(study.folder.root).power("cities").startswith(f"{len(few)} distinct pairs test 2 features: ")


def test_as_many_lists_test_as_rank_where_nothing_else_is_said(study: Study) -> None:
    usual = saeattr.validate(study.folder.root, **LATER)
    drawn = pd.read_parquet(study.folder.root / "test_lists" / "cities.parquet")
    assert len(drawn) == 8
    known = set(token_ids(study.pairs()))
    fresh = Counter(tuple(ids) for ids in drawn["token_ids"] if tuple(ids) not in known)
    assert dict(zip(token_ids(usual.test_pairs()), usual.test_pairs()["times"], strict=True)) == dict(fresh)


def test_of_what_is_fixed_so_many_of_each_half_test(tmp_path: Path) -> None:
    asked = {"sites": ["mlp_out.3"], "validate_top": 2, "curves": False, "figures": False, "device": "cpu"}
    study = saeattr.attribute("capitals", behaviour="facts", validate_pairs=6, out=tmp_path / "s", **asked)
    assert set(study.validation()["n_pairs"]) <= {6, 12}
    assert len(study.pairs()) > 12
