"""A study's overlap is made from what was active in it, stored once, and made again when it is out of date."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import saeattr
from saeattr.errors import UserError
from saeattr.features.recurrence import overlap_table
from saeattr.files import write_table
from saeattr.study.results import Study, load_study
from saeattr.study.sets import read_feature_sets, study_overlap
from saeattr.tables import GROUP_FEATURE, OVERLAP

#: The last layer: most of what is active there has no effect.
SMALL: dict[str, Any] = {"lists": 3, "sites": ["mlp_out.2", "mlp_out.5"], "device": "cpu", "validate_top": 0}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("sets") / "s"
    return saeattr.attribute(["rivers", "cities"], out=out, figures=False, **SMALL)


@pytest.fixture
def study(original: Study, tmp_path: Path) -> Study:
    shutil.copytree(original.folder.root, tmp_path / "s")
    return load_study(tmp_path / "s")


def test_every_feature_with_an_entry_is_counted_pair_by_pair(original: Study) -> None:
    entries = original.attributions()
    pairs = entries.groupby(GROUP_FEATURE)["pair_id"].nunique()
    moving = entries[entries["effect"] != 0].groupby(GROUP_FEATURE)["pair_id"].nunique()
    found = original.active().set_index(GROUP_FEATURE)
    assert found.index.is_unique
    assert found["n_pairs"].to_dict() == pairs.to_dict()
    assert found["n_effect"].to_dict() == moving.reindex(pairs.index, fill_value=0).to_dict()
    last = found.xs(5, level="layer")["n_effect"]
    assert 0 < (last > 0).mean() < 0.5


def test_overlap_of_a_study_draws_from_what_was_active_in_it(study: Study) -> None:
    stored = study_overlap(study.folder)
    pd.testing.assert_frame_equal(stored, overlap_table(study.features(), 30, active=study.active()))
    pd.testing.assert_frame_equal(saeattr.overlap([study.folder.root]).pairs, stored)
    pd.testing.assert_frame_equal(pd.read_parquet(study.folder.table_path("overlap")), stored)


def test_groups_of_two_studies_are_marked_in_both_tables(original: Study, study: Study, tmp_path: Path) -> None:
    shutil.copytree(study.folder.root, tmp_path / "again")
    sets = read_feature_sets([study.folder.root, tmp_path / "again"])
    names = ["rivers (s)", "cities (s)", "rivers (again)", "cities (again)"]
    assert sets.features["group"].unique().tolist() == sets.active["group"].unique().tolist() == names
    found = overlap_table(sets.features, active=sets.active).set_index(["layer", "group_a", "group_b"])
    alone = study_overlap(original.folder).set_index("layer")
    for layer in (2, 5):
        between = found.loc[(layer, "rivers (s)", "cities (again)")]
        assert between["jaccard"] == alone.loc[layer, "jaccard"]
        assert between["expected"] == pytest.approx(alone.loc[layer, "expected"], abs=0.02)


def test_a_set_made_elsewhere_is_compared_with_a_study(study: Study, tmp_path: Path) -> None:
    own = study.features("cities").query("layer == 2").head(30)
    own[["layer", "kind", "feature"]].assign(group="published").to_csv(tmp_path / "p.csv", index=False)
    table = saeattr.overlap([study.folder.root, tmp_path / "p.csv"]).pairs
    row = table[(table["group_a"] == "cities") & (table["group_b"] == "published")].iloc[0]
    assert (row["shared"], row["jaccard"]) == (30, 1.0)
    assert row["expected"] < 0.2


def test_a_stored_overlap_is_read_and_not_made_again(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = study_overlap(study.folder)
    monkeypatch.setattr("saeattr.study.sets.overlap_table", None)
    pd.testing.assert_frame_equal(study_overlap(study.folder), stored)


@pytest.mark.parametrize("what", ["old columns", "damaged", "other depth", "older than active"])
def test_an_overlap_out_of_date_is_made_again(study: Study, what: str) -> None:
    wanted = study_overlap(study.folder)
    path = study.folder.table_path("overlap")
    metadata = {key.decode(): value.decode() for key, value in (pq.read_schema(path).metadata or {}).items()}
    if what == "old columns":
        write_table(path, wanted.drop(columns="q_value"), {"saeattr.overlap_depth": "30"})
    elif what == "damaged":
        path.write_bytes(path.read_bytes()[:100])
    elif what == "other depth":
        study_overlap(study.folder, 5)
        assert metadata["saeattr.overlap_depth"] == "30"
    else:
        write_table(path, wanted.assign(shared=-1), {"saeattr.overlap_depth": "30"})
        os.utime(path, (1, 1))
    pd.testing.assert_frame_equal(study_overlap(study.folder), wanted)
    assert list(pd.read_parquet(path).columns) == OVERLAP.names


@pytest.mark.parametrize("text", ["[[], 0]", "[{}, null]", "[" * 20_000, "{"])
def test_a_file_that_pandas_makes_no_table_of_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "set.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"^[^\n]*set.json cannot be read as json: [^\n]+$"):
        read_feature_sets([tmp_path / "set.json"])
