"""p-values, false discovery rate and verdicts against brute force, a hand-computed case, and data without effects."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saeattr.stats import bootstrap_interval
from saeattr.validation.verdicts import benjamini_hochberg, judge, sign_flip_p, verdict

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
