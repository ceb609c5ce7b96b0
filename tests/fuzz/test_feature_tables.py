"""Tables of features made elsewhere, and names of features: sets of them, or one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from saeattr.features.recurrence import feature_families, overlap_table
from saeattr.sites import KINDS, Site
from saeattr.study.looking import named_features
from saeattr.study.sets import check_features, read_feature_sets
from tests.fuzz.cases import fuzz, unless_refused
from tests.fuzz.test_pair_files import rows, write_csv, write_lines, write_parquet
from tests.fuzz.values import LEAVES, TEXTS, torn, trees

ROW = {"layer": 3, "kind": "resid_post", "feature": 7, "group": "cities", "effect": 0.5}
OTHERS = ("model", "topic", "effect_mean", "n_pairs", "rank")


def check(features: pd.DataFrame) -> None:
    assert len(features)
    assert set(features["kind"]) <= set(KINDS)
    assert features["layer"].dtype == features["feature"].dtype == np.int64
    assert (features[["layer", "feature"]] >= 0).all(axis=None)
    assert all(isinstance(group, str) for group in features["group"])


@fuzz(rows(ROW, OTHERS), times=2)
def test_tables_in_memory(values: list[dict[str, Any]]):
    try:
        table = pd.DataFrame(values)
    except UnicodeEncodeError:
        return  # pandas holds no halves of surrogate pairs.
    features = unless_refused(lambda: check_features(table, "the table"))
    if features is not None:
        check(features)


@fuzz(rows(ROW, OTHERS), st.sampled_from(["csv", "json", "parquet"]), times=2)
def test_tables_in_files(tmp_path: Path, values: list[dict[str, Any]], kind: str):
    path = tmp_path / f"t.{kind}"
    if kind == "csv":
        write_csv(path, values)
    elif kind == "json":
        write_lines(path, [], json.dumps(values))
    elif not write_parquet(path, values):
        return
    sets = unless_refused(lambda: read_feature_sets([path]))
    if sets is not None:
        check(sets.features)
        unless_refused(lambda: (overlap_table(sets.features, 5), feature_families(sets.features, 5)))


@fuzz(torn(rows(ROW, OTHERS).map(json.dumps)) | trees().map(json.dumps), st.sampled_from(["csv", "json", "parquet"]))
def test_files_that_are_torn(tmp_path: Path, text: str, kind: str):
    path = tmp_path / f"t.{kind}"
    write_lines(path, [], text)
    sets = unless_refused(lambda: read_feature_sets([path]))
    if sets is not None:
        check(sets.features)


NAMES = st.sampled_from(["resid_post.3/7", "7", "mlp_out.0/0", "resid_post.3/", "/7", "resid_post.99/1", "x/1"])


@fuzz(st.lists(NAMES | TEXTS | LEAVES, max_size=4) | TEXTS)
def test_names_of_features(names: Any):
    sites = [Site("resid_post", 3), Site("mlp_out", 0)]
    found = unless_refused(lambda: named_features(names, sites))
    if found:
        assert all(site in sites and all(feature >= 0 for feature in own) for site, own in found.items())
