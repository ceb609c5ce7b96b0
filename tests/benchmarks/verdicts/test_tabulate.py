"""Error rates from rows whose right answers can be counted by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from benchmarks.verdicts.tabulate import (
    inert_causal,
    interval_coverage,
    little_causal,
    recall_by_size,
    share_of,
)

COLUMNS = ["model", "kind", "size", "variation", "population", "exact_low", "exact_high", "verdict"]
NAN = np.nan
ROWS = pd.DataFrame(
    [
        (0, "driver", "30 %", "normal", 3.0, 2.0, 4.0, "causal"),
        (0, "driver", "30 %", "normal", -3.0, -2.0, -1.0, "causal"),
        (1, "driver", "30 %", "normal", 3.0, 3.5, 4.0, "weak"),
        (0, "driver", "2 %", "normal", 0.2, NAN, NAN, "not tested"),
        (1, "driver", "10 %", "constant", 1.0, -2.0, -1.0, "opposite sign"),
        (0, "correlate", "none", "normal", 0.0, 0.01, 0.02, "causal"),
        (0, "frequent", "none", "normal", 0.0, -0.01, 0.02, "not causal"),
        (1, "dead", "none", "none", 0.0, 0.0, 0.0, "not causal"),
        (1, "dead", "none", "none", 0.0, NAN, NAN, "not tested"),
        (1, "background", "no mean", "sparse", 0.05, 0.04, 0.07, "causal"),
    ],
    columns=pd.Index(COLUMNS),
).assign(
    rule="before", tested_by="top 20", n_pairs=6, setting="crowded", gap=-10.0, population_median=2.5, gap_median=300.0
)


def test_the_interval_of_a_share_is_clopper_and_pearsons():
    found = share_of(3, 20)
    assert found["share"] == 0.15
    assert (found["low"], found["high"]) == pytest.approx((beta.ppf(0.025, 3, 18), beta.ppf(0.975, 4, 17)))
    assert np.isnan(share_of(0, 0)["share"])


def test_inert_features_count_where_they_were_tested():
    table = inert_causal(ROWS).set_index("kind")
    assert table["tested"].to_dict() == {"all inert": 3, "correlate": 1, "dead": 1, "frequent": 1}
    assert table["causal"].to_dict() == {"all inert": 1, "correlate": 1, "dead": 0, "frequent": 0}
    assert table.loc["all inert", "models"] == 1


def test_recall_is_of_all_drivers_and_the_share_of_those_tested():
    table = recall_by_size(ROWS).set_index("size")
    assert list(table.index) == ["2 %", "10 %", "30 %"]
    assert table["recall"].tolist() == pytest.approx([0, 0, 2 / 3])
    assert table.loc["30 %", "share"] == pytest.approx(2 / 3)
    assert table.loc["2 %", "tested"] == 0
    known = share_of(2, 3)
    assert table.loc["30 %", ["recall_low", "recall_high"]].tolist() == [known["low"], known["high"]]


def test_drivers_that_act_in_part_of_the_pairs_or_the_models_stand_apart():
    setting = np.where(ROWS["model"] == 0, "crowded", "few causes")
    part = ROWS.assign(variation=ROWS["variation"].replace("constant", "in part"), setting=setting)
    table = recall_by_size(part)
    found = {
        tuple(row): causal for *row, causal in table[["setting", "acts", "size", "causal"]].itertuples(index=False)
    }
    assert found == {
        ("few causes", "every pair", "30 %"): 0,
        ("few causes", "in part", "10 %"): 0,
        ("crowded", "every pair", "2 %"): 0,
        ("crowded", "every pair", "30 %"): 2,
    }


def test_an_interval_that_misses_does_so_nearer_to_zero_or_farther():
    table = interval_coverage(ROWS).set_index("variation")
    assert table["intervals"].to_dict() == {"constant": 1, "normal": 3, "sparse": 1}
    assert table.loc["normal", ["share", "missed_inside", "missed_outside"]].tolist() == pytest.approx([1 / 3] * 3)
    assert table.loc["constant", "missed_inside"] == 1
    assert table.loc["sparse", "share"] == 1


def test_a_rule_of_medians_is_held_against_the_median_over_all_pairs():
    after = ROWS.assign(rule="after")
    table = interval_coverage(after).set_index("variation")
    # 2.5 lies in the first interval, above the second and under the third.
    assert table.loc["normal", ["share", "missed_inside", "missed_outside"]].tolist() == pytest.approx([1 / 3] * 3)
    assert table.loc["sparse", ["share", "missed_inside"]].tolist() == [0, 1]
    (row,) = little_causal(after).to_dict("records")
    # 2.5 of the mean gap of 10 is much, of the median gap of 300 it is not.
    assert (row["causal"], row["little"]) == (4, 4)


def test_little_is_under_one_percent_of_the_gap_whatever_the_signs():
    (row,) = little_causal(ROWS).to_dict("records")
    assert (row["causal"], row["little"]) == (4, 2)
