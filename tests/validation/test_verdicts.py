"""From effects made by hand to verdicts; error rates where nothing is causal; what the number of tests changes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from saeattr.stats import median_interval
from saeattr.tables import EXACT, FEATURE, VALIDATION
from saeattr.validation.verdicts import (
    VERDICTS,
    control_numbers,
    effect_numbers,
    judge,
    natural_shares,
    validation_table,
    verdict,
)

ROW = {
    "n_pairs": 10,
    "exact_median": -1.0,
    "exact_low": -1.4,
    "exact_high": -0.6,
    "share": 0.06,
    "smallest": 0.01,
    "q_value": 0.01,
    "n_controls": 39,
    "n_as_strong": 0,
    "effect_median": -2.0,
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "causal"),
        ({"exact_median": 1.0, "exact_low": 0.6, "exact_high": 1.4, "effect_median": 0.1}, "causal"),
        ({"n_pairs": 5, "exact_low": math.nan, "exact_high": math.nan}, "too few pairs"),
        ({"n_pairs": 6}, "causal"),
        ({"exact_high": 0.0}, "not shown"),
        ({"exact_low": 0.0, "exact_high": 1.4}, "not shown"),
        ({"share": 0.0099}, "small"),
        ({"share": 0.01}, "causal"),
        ({"share": math.nan}, "causal"),
        ({"share": 0.005, "q_value": 0.9}, "not shown"),
        ({"share": 0.005, "n_as_strong": 9}, "small"),
        ({"q_value": 0.05}, "causal"),
        ({"q_value": 0.051}, "not shown"),
        ({"n_controls": 18}, "too few controls"),
        ({"n_controls": 19}, "causal"),
        ({"n_controls": 19, "n_as_strong": 1}, "within controls"),
        ({"n_as_strong": 1}, "causal"),
        ({"n_as_strong": 2}, "within controls"),
        ({"n_as_strong": 2, "effect_median": 1.0}, "within controls"),
        ({"effect_median": 1.0}, "opposite sign"),
        ({"effect_median": 0.0}, "causal"),
    ],
)
def test_a_verdict_is_the_first_number_that_fails(change: dict[str, float], expected: str) -> None:
    assert verdict({**ROW, **change}) == expected
    assert expected in VERDICTS


def measured(effects: dict[tuple[int, int], list[float]], evidence: str = "test") -> pd.DataFrame:
    """By (feature, along): one effect for each of the pairs 000, 001, ..."""
    rows = [
        ("cities", 1, "mlp_out", feature, along, evidence, f"{nth:03}", value)
        for (feature, along), values in effects.items()
        for nth, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=EXACT.names)


def features(effects: dict[int, float]) -> pd.DataFrame:
    rows = [("cities", 1, "mlp_out", feature, effect, effect) for feature, effect in effects.items()]
    return pd.DataFrame(rows, columns=["group", *FEATURE, "effect_mean", "effect_median"])


GAPS = {f"{nth:03}": gap for nth, gap in enumerate([-8.0, -10.0, -12.0, -9.0, -11.0, -30.0, 0.0])}
OWN = [-1.0, -2.0, -3.0, -0.5, -2.5, -9.0, -0.05]


def test_the_four_numbers_of_a_tested_feature() -> None:
    """Its controls' medians are 0.5, 2 and 3; the gap's median is -10; natural effects are of the pairs that ranked."""
    controls = {(7, 8): [0.5] * 7, (7, 9): [-3.0] * 7, (7, 10): [2.0] * 7}
    natural = measured({(7, 7): [-4.0] * 7, (5, 5): [5.0] * 7, (6, 6): [1.0] * 7}, "ranking")
    exact = pd.concat([measured({(3, 3): [0.1] * 7, (7, 7): OWN, **controls}), natural])
    found = validation_table(exact, features({3: 0.2, 7: -4.0}), GAPS, 0.01)
    # In the order of the attribution's size.
    assert found["feature"].tolist() == [7, 3]
    first, second = found.to_dict("records")
    low, high = (float(end[0]) for end in median_interval(np.array([OWN])))
    assert (first["exact_median"], first["exact_low"], first["exact_high"]) == (-2.0, low, high)
    assert first["exact_mean"] == pytest.approx(np.mean(OWN))
    assert (first["gap"], first["share"], first["smallest"]) == (-10.0, 0.2, 0.01)
    assert (first["n_controls"], first["n_as_strong"], first["n_pairs"]) == (3, 2, 7)
    assert (first["control_median"], first["control_high"]) == (2.0, pytest.approx(2.9))
    assert first["natural_share"] == 0.5
    assert [first["p_value"], second["p_value"]] == pytest.approx([2 / 2**7] * 2)
    assert (second["n_controls"], second["share"]) == (0, pytest.approx(0.01))
    assert math.isnan(second["control_high"])
    assert math.isnan(second["natural_share"])


def test_without_a_gap_there_is_no_share_of_it() -> None:
    assert math.isnan(effect_numbers(np.array(OWN), math.nan, 0.01)["share"])
    assert math.isnan(effect_numbers(np.array(OWN), 0.0, 0.01)["share"])


def test_controls_are_compared_in_size_not_in_sign() -> None:
    mine = np.array([-1.0] * 6)
    others = np.array([[1.5] * 6, [-1.5] * 6, [0.9] * 6, [1.0] * 6])
    assert control_numbers(mine, others)["n_as_strong"] == 3


def test_a_feature_is_not_compared_with_itself_among_natural_effects() -> None:
    found = natural_shares(measured({(1, 1): [5.0], (2, 2): [-6.0], (3, 3): [0.0]}, "ranking"))
    assert {key[2]: share for key, share in found.items()} == {1: 0.5, 2: 0.0, 3: 1.0}


def test_q_is_over_all_rows_whatever_their_group() -> None:
    p = [0.04, 0.01, 0.02, 0.5]
    table = pd.DataFrame([{**ROW, "p_value": value} for value in p]).drop(columns="q_value")
    judged = judge(table)
    np.testing.assert_allclose(judged["q_value"], scipy.stats.false_discovery_control(p))
    assert judged["verdict"].tolist() == ["not shown", "causal", "causal", "not shown"]
    assert judge(table.head(1))["verdict"].tolist() == ["causal"]


def test_where_directions_are_exchangeable_few_features_are_called_causal() -> None:
    """Real structure: 20 features, 39 controls, 10 pairs of unequal size with shared shifts; the median is not 0."""
    source = np.random.default_rng(1)
    shares, within = [], []
    for _ in range(100):
        size, shift = source.lognormal(size=10), 3 * source.normal(size=(20, 40, 1))
        effects = (source.normal(size=(20, 40, 10)) + shift) * size
        table = pd.DataFrame(
            [
                {**effect_numbers(one[0], -20.0, 0.01), **control_numbers(one[0], one[1:]), "effect_median": 0.0}
                for one in effects
            ]
        )
        verdicts = judge(table)["verdict"]
        shares.append((verdicts == "causal").mean())
        within.append((verdicts == "within controls").mean())
    # 2 of 40 places are 5 %; 2,000 features tell it to half a percent.
    assert np.mean(shares) <= 0.06
    # Most have an effect that is real: without controls they would be called causal.
    assert np.mean(within) > 0.2


def test_where_effects_have_no_direction_nothing_is_shown() -> None:
    source = np.random.default_rng(2)
    rows = []
    for _ in range(2000):
        mine = source.lognormal(0, 1.5, 10) * source.choice([-1, 1], 10)
        rows.append({**effect_numbers(mine, -20.0, 0.01), **control_numbers(mine, np.zeros((39, 10)))})
    table = judge(pd.DataFrame(rows).assign(effect_median=0.0))
    assert (table["p_value"] <= 0.05).mean() <= 0.05
    assert (table["verdict"] == "causal").mean() <= 0.01


def test_nothing_tested_gives_a_table_without_rows() -> None:
    found = validation_table(EXACT.empty(), features({3: 0.2}), {}, 0.01)
    assert found.empty
    assert found.columns.tolist() == VALIDATION.names
