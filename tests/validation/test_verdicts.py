"""From effects made by hand to verdicts; p-values and false discovery rate against brute force and chance."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saeattr.stats import bootstrap_interval
from saeattr.tables import EXACT, FEATURE
from saeattr.validation.verdicts import (
    benjamini_hochberg,
    compared_effects,
    judge,
    mean_estimates,
    sign_flip_p,
    site_agreement,
    validation_table,
    verdict,
)

ROW = {
    "q_value": 0.01,
    "effect_mean": -1.0,
    "exact_mean": -1.0,
    "exact_low": -1.4,
    "exact_high": -0.6,
    "control_low": -0.1,
    "control_high": 0.1,
}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_p_is_that_of_all_sign_combinations(values: list[int]) -> None:
    """Whole numbers, so that ties are real ties."""
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(values))
    ]
    expected = np.mean([total >= abs(sum(values)) for total in sums])
    assert sign_flip_p(np.array([values], dtype=float))[0] == pytest.approx(expected)


@pytest.mark.parametrize("n_pairs", [1, 6, 10, 14])
def test_lists_of_one_sign_reach_the_smallest_p(n_pairs: int) -> None:
    assert sign_flip_p(np.linspace(0.1, 1, n_pairs)[None])[0] == pytest.approx(2 / 2**n_pairs)


def test_from_fifteen_pairs_on_signs_are_drawn() -> None:
    """p counts whole draws then, and the observed signs as one of them."""
    p = float(sign_flip_p(np.linspace(-0.4, 1, 15)[None])[0])
    assert p * 10_001 == pytest.approx(round(p * 10_001))
    assert 0.01 < p < 0.1


def test_with_many_lists_signs_are_drawn_and_p_stays_above_zero() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([np.ones(20), rng.normal(size=20), np.zeros(20)])
    p = sign_flip_p(rows, seed=3)
    assert p[0] == pytest.approx(1 / 10_001)
    assert 0 < p[1] <= 1
    assert p[2] == 1
    assert (p == sign_flip_p(rows, seed=3)).all()


def test_q_values_of_a_hand_computed_case() -> None:
    p = np.array([0.04, 0.01, 0.02, 0.5])
    assert benjamini_hochberg(p) == pytest.approx([0.04 * 4 / 3, 0.04, 0.04, 0.5])
    assert benjamini_hochberg(np.array([0.9, 0.95])) == pytest.approx([0.95, 0.95])
    assert len(benjamini_hochberg(np.array([]))) == 0


def test_a_verdict_is_by_the_q_value_over_all_rows_of_the_table() -> None:
    """The first feature's p-value alone is below 0.05; among four it is not enough."""
    p = [0.04, 0.01, 0.02, 0.5]
    table = pd.DataFrame([{**ROW, "p_value": value} for value in p]).drop(columns="q_value")
    judged = judge(table)
    assert judged["q_value"].tolist() == pytest.approx([0.04 * 4 / 3, 0.04, 0.04, 0.5])
    assert judged["verdict"].tolist() == ["not causal", "causal", "causal", "not causal"]
    assert judge(table.head(1))["verdict"].tolist() == ["causal"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_a_q_value_is_the_smallest_rate_at_which_its_test_is_rejected(numbers: list[int]) -> None:
    """The step-up procedure itself: the k smallest p-values are rejected, k the last with p <= rate k / n."""
    p = np.array(numbers) / 40
    found = benjamini_hochberg(p)
    for rate in np.linspace(0.013, 0.993, 50):
        passing = [k for k in range(1, len(p) + 1) if np.sort(p)[k - 1] <= rate * k / len(p)]
        limit = np.sort(p)[max(passing) - 1] if passing else -1.0
        assert ((p <= limit) == (found <= rate)).all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "causal"),
        ({"q_value": 0.05}, "causal"),
        ({"q_value": 0.06}, "not causal"),
        ({"exact_low": -1.4, "exact_high": 0.0}, "not causal"),
        ({"exact_low": 0.0, "exact_high": 1.4, "exact_mean": 1.0, "effect_mean": 1.0}, "not causal"),
        ({"exact_high": 0.1}, "not causal"),
        ({"effect_mean": 1.0}, "opposite sign"),
        ({"control_low": -0.7}, "weak"),
        ({"control_high": 0.7}, "weak"),
        ({"control_high": 0.6}, "weak"),
        ({"control_low": -1.0, "control_high": -0.5}, "weak"),
        ({"control_low": float("nan"), "control_high": float("nan")}, "weak"),
        ({"exact_low": 0.6, "exact_high": 1.4, "exact_mean": 1.0, "effect_mean": 2.0}, "causal"),
    ],
)
def test_verdicts(change: dict[str, float], expected: str) -> None:
    assert verdict({**ROW, **change}) == expected


def test_where_nothing_is_causal_few_features_are_called_so() -> None:
    """Random numbers of the real table's structure: 20 features, 10 controls each, 10 pairs, 200 groups."""
    rng = np.random.default_rng(1)
    shares, at_level = [], []
    for _ in range(200):
        # Lists differ in size and all features of a pair share a shift, as real ones do.
        scale = rng.lognormal(size=10)
        shift = rng.normal(size=10)
        effects = (rng.normal(size=(20, 10)) + shift) * scale
        controls = (rng.normal(size=(20, 10, 10)) + shift) * scale
        mean = controls.mean(axis=1)
        low, high = bootstrap_interval(effects, 0)
        control_low, control_high = bootstrap_interval(mean, 0)
        p = sign_flip_p(effects - mean)
        table = pd.DataFrame(
            {
                "p_value": p,
                "effect_mean": effects.mean(axis=1),
                "exact_mean": effects.mean(axis=1),
                "exact_low": low,
                "exact_high": high,
                "control_low": control_low,
                "control_high": control_high,
            }
        )
        shares.append((judge(table)["verdict"] == "causal").mean())
        at_level.append((p <= 0.05).mean())
    assert np.mean(shares) <= 0.05
    assert 0.02 <= np.mean(at_level) <= 0.06


def features(effects: dict[int, float]) -> pd.DataFrame:
    rows = [("cities", 1, "mlp_out", feature, effect) for feature, effect in effects.items()]
    return pd.DataFrame(rows, columns=["group", *FEATURE, "effect_mean"])


def measured(effects: dict[tuple[int, int], list[float]]) -> pd.DataFrame:
    """By (tested feature, patched feature): one effect for each of the pairs 000, 001, ..."""
    rows = [
        ("cities", 1, "mlp_out", feature, patched, f"{nth:03}", value)
        for (feature, patched), values in effects.items()
        for nth, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=EXACT.names)


def test_a_list_without_an_entry_counts_as_zero_in_the_estimate() -> None:
    entries = pd.DataFrame(
        [(1, "mlp_out", 7, "000", 0.5), (1, "mlp_out", 7, "002", -2.0), (1, "mlp_out", 9, "001", 1.0)],
        columns=[*FEATURE, "pair_id", "effect"],
    )
    found = mean_estimates(entries, features({7: 100.0, 9: 200.0, 11: 300.0}), n_pairs=4)
    assert found["feature"].tolist() == [7, 9]
    assert found["effect_mean"].tolist() == pytest.approx([-1.5 / 4, 1.0 / 4])


def test_means_and_p_values_are_over_all_lists_and_controls() -> None:
    pair_ids = [f"{nth:03}" for nth in range(6)]
    own, low, high = [5.0, 6.0, 7.0, 5.0, 6.0, 7.0], [1.0, 0.0, 1.0, 0.0, 1.0, 0.0], [2.0] * 6
    found = validation_table(
        measured({(3, 3): [0.1] * 6, (7, 7): own, (7, 8): low, (7, 9): high}), features({3: 0.2, 7: -4.0}), pair_ids, 0
    )
    # In the order of the attribution's size.
    assert found["feature"].tolist() == [7, 3]
    first, second = found.to_dict("records")
    assert first["exact_mean"] == pytest.approx(6.0)
    assert first["control_mean"] == pytest.approx(1.25)
    assert (first["n_controls"], second["n_controls"]) == (2, 0)
    # Every list is on the same side of its controls' mean, or of 0 where there are no controls.
    assert [first["p_value"], second["p_value"]] == pytest.approx([2 / 2**6] * 2)
    assert (first["verdict"], second["verdict"]) == ("opposite sign", "weak")


def test_p_is_of_the_difference_from_the_controls() -> None:
    """A feature that does exactly what its controls do has p = 1, however large its effect is."""
    pair_ids = [f"{nth:03}" for nth in range(7)]
    own = [5.0, 6.0, 7.0, 5.5, 6.5, 7.5, 8.0]
    found = validation_table(measured({(3, 3): own, (3, 4): own}), features({3: 6.0}), pair_ids, 0)
    assert found["p_value"].tolist() == [1.0]
    assert found["group"].tolist() == ["cities"]
    # The pairs are resampled in the order asked for, whatever the order of the rows.
    turned = validation_table(measured({(3, 3): own, (3, 4): own}), features({3: 6.0}), pair_ids[::-1], 0)
    low, high = bootstrap_interval(np.array([own[::-1]]), 0)
    assert (turned["exact_low"].iloc[0], turned["exact_high"].iloc[0]) == (low[0], high[0])


def test_effects_of_the_size_of_rounding_have_no_sign_and_no_rank() -> None:
    """Of four features two do nothing; one estimate is zero to the last bit, all else is noise of either sign."""
    columns = {"group": "cities", "layer": 1, "kind": "mlp_out"}
    estimates, noise = (
        [2.0, -1.0, 0.0, 3e-6],
        [[1.5, -2.0, one, other] for one in (1e-6, -2e-6) for other in (-1e-6, 0.0)],
    )
    for exact in noise:
        (row,) = site_agreement(pd.DataFrame({**columns, "effect_mean": estimates, "exact_mean": exact})).to_dict(
            "records"
        )
        # The two that do nothing share a rank.
        assert (row["same_sign"], row["spearman"]) == (1.0, pytest.approx(1.0))
    turned = pd.DataFrame({**columns, "effect_mean": estimates, "exact_mean": [1.5, 2.0, 0.01, 0.0]})
    assert site_agreement(turned)["same_sign"].tolist() == [0.5]


def test_every_patched_feature_is_compared_once() -> None:
    """Feature 8 is a control of two, 9 is tested and a control, and 10 has no estimate."""
    exact = measured({(7, 7): [2.0, 4.0], (7, 8): [1.0, 0.0], (9, 9): [5.0, 5.0], (9, 8): [1.0, 0.0], (9, 10): [1, 1]})
    found = compared_effects(exact, features({7: 3.5, 8: 0.75, 9: -6.0, 11: 1.0})).set_index("feature")
    assert found["exact_mean"].to_dict() == {7: 3.0, 8: 0.5, 9: 5.0}
    assert found["effect_mean"].to_dict() == {7: 3.5, 8: 0.75, 9: -6.0}
    assert found["tested"].to_dict() == {7: True, 8: False, 9: True}


def test_agreement_is_the_correlation_over_the_features_of_a_site() -> None:
    compared = pd.DataFrame(
        {
            "group": "cities",
            "layer": 1,
            "kind": "mlp_out",
            "effect_mean": [1.0, 2.0, 4.0],
            "exact_mean": [1.0, 3.0, -1.0],
        }
    )
    (row,) = site_agreement(compared).to_dict("records")
    # Deviations (-4/3, -1/3, 5/3) and (0, 2, -2): products -4, squares 42/9 and 8.
    assert row["pearson"] == pytest.approx(-4 / (42 / 9 * 8) ** 0.5)
    assert row["spearman"] == pytest.approx(-0.5)
    assert row["same_sign"] == pytest.approx(2 / 3)
    assert row["poor"]
    (few,) = site_agreement(compared.head(2)).to_dict("records")
    assert pd.isna(few["pearson"])
    assert pd.isna(few["spearman"])
    assert not few["poor"]
