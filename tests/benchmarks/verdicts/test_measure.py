"""The rows of a planted model: what was planted beside what was measured and said."""

from __future__ import annotations

import functools

import pandas as pd
import pytest

from tests.benchmarks.verdicts.opened import SITES, Opened, opened

# What it imports puts the scripts on the path.
from benchmarks.verdicts.measure import N_PAIRS, PLANTED_PAIRS, RANKING, rows_of  # isort: skip
from benchmarks.verdicts.planted import population  # isort: skip


@functools.cache
def rows() -> pd.DataFrame:
    model = opened(SITES[0]).planted
    return rows_of(model, population(model), "before")


def test_every_feature_has_a_row_for_each_set_and_number_of_pairs_and_most_are_not_tested():
    truth = opened(SITES[0]).planted.truth
    others = truth["kind"].isin(["background", "dead"])
    cases = {("top 20", n): 20 for n in N_PAIRS} | {("planted", PLANTED_PAIRS): int((~others).sum()) + 6}
    assert len(rows()) == len(cases) * len(truth)
    for (name, n), tested in cases.items():
        own = rows()[(rows()["tested_by"] == name) & (rows()["n_pairs"] == n)]
        assert own["feature"].tolist() == truth["feature"].tolist()
        assert (own["verdict"] != "not tested").sum() == tested


def test_the_exact_mean_is_that_of_editing_the_plain_model_on_the_same_pairs():
    whole = opened(SITES[0])
    few = Opened.on(whole.planted, whole.hf, whole.planted.make_pairs(PLANTED_PAIRS, RANKING))
    own = rows().query("tested_by == 'planted' and kind == 'driver'")
    assert len(own) == 14
    for row in own.itertuples():
        assert row.exact_mean == pytest.approx(few.effect([row.feature]), abs=1e-4)
        assert row.exact_low <= row.exact_mean <= row.exact_high


def test_the_rows_hold_what_was_planted():
    own = rows().query("n_pairs == 6 and tested_by == 'top 20'").set_index("feature")
    truth = opened(SITES[0]).planted.truth.set_index("feature")
    assert own[truth.columns].equals(truth)
    assert own["gap"].nunique() == own["model"].nunique() == own["site"].nunique() == 1
