"""Means, ratios and correlations over pairs, computed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saeattr.patching.summary import paired_effects, patching_agreement, patching_summary

BASE = {"group": "g", "component": "z", "by": "role", "direction": "noising", "method": "exact", "layer": 0}
CELL = {"head": -1, "place": "word", "position": -1, "joint": False}


def rows(*given: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame([{**BASE, **CELL, **row} for row in given])


TWO = (
    {"pair_id": "a", "effect": -1.0, "clean": 4.0, "corrupted": 0.0},
    {"pair_id": "b", "effect": -3.0, "clean": 5.0, "corrupted": 1.0},
)


def test_a_normalised_effect_is_a_ratio_of_means() -> None:
    (found,) = patching_summary(rows(*TWO)).to_dict("records")
    assert found["effect"] == -2.0
    assert found["normalised"] == pytest.approx(2 / 4)
    assert found["n_pairs"] == 2
    assert found["normalised_low"] < 0.5 < found["normalised_high"]


def test_in_the_other_direction_no_effect_is_1_and_undoing_everything_is_0() -> None:
    turned = [{**row, "direction": "denoising", "effect": effect} for row, effect in zip(TWO, (0.0, 0.0), strict=True)]
    assert patching_summary(rows(*turned))["normalised"].item() == pytest.approx(1.0)
    undone = [{**row, "effect": 4.0} for row in turned]
    assert patching_summary(rows(*undone))["normalised"].item() == pytest.approx(0.0)


def test_a_pair_without_positions_of_a_place_counts_with_0() -> None:
    table = rows(*TWO, {**TWO[0], "place": "blank", "effect": -2.0})
    found = patching_summary(table).set_index("place")
    assert found.loc["blank", "effect"] == -1.0
    assert found.loc["blank", "n_pairs"] == 2


def test_single_tokens_of_several_pairs_are_told_apart_by_role() -> None:
    tokens = [{**row, "by": "token", "position": at} for row in TWO for at in (3, 4)]
    found = patching_summary(rows(*tokens))
    assert found[["place", "position", "effect"]].to_dict("records") == [
        {"place": "word", "position": -1, "effect": -2.0}
    ]
    alone = patching_summary(rows(*tokens[:2]))
    assert alone["position"].to_list() == [3, 4]
    assert alone["normalised_low"].isna().all()


def test_agreement_is_over_cells_of_means_and_over_pairs_without_joint_places() -> None:
    rng = np.random.default_rng(0)
    made = []
    for layer in range(4):
        for pair in "ab":
            exact = rng.normal()
            run = {"pair_id": pair, "clean": 1.0, "corrupted": 0.0, "layer": layer}
            made += [{**run, "effect": exact}, {**run, "method": "attribution", "effect": exact + rng.normal()}]
            made += [{**run, "effect": 50.0, "joint": True}]
            made += [{**run, "effect": 50.0, "joint": True, "method": "attribution"}]
    table = rows(*made)
    both = paired_effects(table)
    (found,) = patching_agreement(table).to_dict("records")
    means = both.groupby("layer")[["exact", "attribution"]].mean()
    assert found["pearson"] == pytest.approx(means.corr().iloc[0, 1])
    assert found["pearson_pairs"] == pytest.approx(both[["exact", "attribution"]].corr().iloc[0, 1])
    assert found["captured"] == pytest.approx(both["attribution"].sum() / both["exact"].sum())
    assert (found["n_cells"], found["n_pairs"]) == (4, 2)


def test_without_both_methods_nothing_is_compared() -> None:
    assert patching_agreement(rows(*TWO)).empty
    assert patching_summary(rows(*TWO).iloc[:0]).empty
