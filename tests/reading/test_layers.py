"""The layers in which a direction appears, on curves that were drawn by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeattr.reading.layers import apart_from, lens_onsets, reaches, separations
from saeattr.tables import LENS_ONSET

LAYERS = [-1, 0, 1, 2, 3]
RISING = [0.0, 0.5, 5.0, 9.5, 10.0]


def rows(curves: dict[str, list[list[float]]], corrupted: float = 0.0) -> pd.DataFrame:
    """The lens of some pairs: of each its positions from the first to the last, each over ``LAYERS``."""
    found = [
        {
            **{"group": "g", "pair_id": pair, "temperature": np.nan, "direction": "d", "role": "item"},
            **{"layer": layer, "number": at + 1, "from_end": len(positions) - 1 - at},
            **{"clean": value, "corrupted": corrupted},
        }
        for pair, positions in curves.items()
        for at, position in enumerate(positions)
        for layer, value in zip(LAYERS, position, strict=True)
    ]
    return pd.DataFrame(found)


def onset(table: pd.DataFrame, contrast: str) -> pd.Series:
    return lens_onsets(table).set_index("contrast").loc[contrast]


def test_it_begins_at_ten_percent_of_the_end_and_is_complete_at_ninety() -> None:
    table = rows({f"p{at}": [[0.0] * 5, [0.0] * 5, RISING] for at in range(7)})
    row = onset(table, "positions")
    assert (row["begins"], row["complete"], row["separation"], row["n_pairs"]) == (1, 2, 10, 7)
    assert (row["begins_low"], row["begins_high"], row["apart_from"], row["n_layers"]) == (1, 1, 0, 4)
    assert list(lens_onsets(table).columns) == LENS_ONSET.names


def test_the_last_position_is_compared_with_the_mean_of_the_earlier_ones_or_with_the_corrupted_run() -> None:
    table = rows({"p": [[1.0] * 5, [3.0] * 5, RISING]}, corrupted=4.0)
    assert separations(table, "positions").to_numpy().tolist() == [[value - 2 for value in RISING]]
    assert separations(table, "runs").to_numpy().tolist() == [[value - 4 for value in RISING]]


def test_a_direction_that_falls_appears_like_one_that_rises() -> None:
    row = onset(rows({f"p{at}": [[0.0] * 5, [-value for value in RISING]] for at in range(6)}), "positions")
    assert (row["begins"], row["complete"], row["separation"], row["apart_from"]) == (1, 2, -10, 0)


def test_a_list_of_one_item_has_nothing_to_compare_between_positions() -> None:
    table = rows({"short": [RISING], "long": [[0.0] * 5, RISING]})
    assert onset(table, "positions")["n_pairs"] == 1
    assert onset(table, "runs")["n_pairs"] == 2
    assert set(lens_onsets(rows({"short": [RISING]}))["contrast"]) == {"runs"}


def test_fewer_than_six_pairs_have_a_median_and_no_interval() -> None:
    row = onset(rows({f"p{at}": [[0.0] * 5, RISING] for at in range(5)}), "positions")
    assert (row["begins"], row["complete"]) == (1, 2)
    assert row[["begins_low", "begins_high", "complete_low", "separation_low", "apart_from"]].isna().all()


def test_a_pair_that_ends_where_it_began_has_no_layer_and_no_corrupted_run_gives_no_row() -> None:
    table = rows({"flat": [[0.0] * 5, [0.0] * 5]}, corrupted=np.nan)
    found = lens_onsets(table)
    assert found["contrast"].tolist() == ["positions"]
    assert found["separation"].tolist() == [0]
    assert found[["begins", "complete"]].isna().all().all()
    assert lens_onsets(table.head(0)).empty


@given(
    st.lists(st.lists(st.integers(-9, 9), min_size=4, max_size=4), min_size=1, max_size=5), st.sampled_from([0.1, 0.9])
)
def test_from_that_layer_on_the_share_is_kept_and_not_from_the_one_before(
    curves: list[list[int]], share: float
) -> None:
    values = np.array(curves, dtype=float)
    for curve, found in zip(values, reaches(values, share), strict=True):
        enough = [np.sign(curve[-1]) * value >= share * abs(curve[-1]) for value in curve]
        assert all(enough[found:])
        assert found == 0 or not enough[found - 1]


def test_a_separation_that_comes_and_goes_is_apart_only_from_where_it_stays() -> None:
    spread = np.linspace(0.5, 1.5, 10)[:, None]
    curves = spread * np.array([[1.0, -1.0, 1.0, 1.0]])
    assert apart_from([-1, 0, 1, 2], curves) == 1
    mixed = np.where(np.arange(10)[:, None] % 2 == 0, curves, -curves)
    assert np.isnan(apart_from([-1, 0, 1, 2], mixed))


def test_groups_can_be_taken_together_under_one_name() -> None:
    one = rows({f"p{at}": [[0.0] * 5, RISING] for at in range(3)})
    both = pd.concat([one, one.assign(group="h")])
    row = lens_onsets(both, {"d": "A - B"}, "both").iloc[0]
    assert (row["group"], row["label"], row["n_pairs"]) == ("both", "A - B", 6)
    assert row["begins_low"] == pytest.approx(1)
