"""The rule that the present verdicts are compared with, on numbers small enough to follow."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from benchmarks.verdicts.before import bootstrap_interval, judge_before, match_controls, sign_flip_p

PAIRS = 10
RNG = np.random.default_rng(0)
CLEAR, SAME_AS_CONTROLS = 3 + 0.1 * RNG.normal(size=PAIRS), 1 + 0.1 * RNG.normal(size=PAIRS)
EFFECTS = pd.DataFrame(
    {
        "clear": CLEAR,
        "turned": -CLEAR,
        "like its controls": SAME_AS_CONTROLS,
        "nothing": np.zeros(PAIRS),
        "control": 0.5 + 0.5 * RNG.normal(size=PAIRS),
        "other control": -0.5 + 0.5 * RNG.normal(size=PAIRS),
        "strong control": 2 + 0.1 * RNG.normal(size=PAIRS),
    }
).T


def judged(estimates: dict[str, float]) -> pd.DataFrame:
    controls = {"clear": ["control", "other control"], "turned": ["control"], "nothing": ["other control"]}
    return judge_before(EFFECTS, {**controls, "like its controls": ["strong control"]}, pd.Series(estimates), seed=0)


def test_each_verdict_of_the_former_rule_is_reached():
    verdicts = judged({"clear": 3.0, "turned": 3.0, "like its controls": 1.0})["verdict"].to_dict()
    assert verdicts == {
        "clear": "causal",
        "turned": "opposite sign",
        "like its controls": "weak",
        "nothing": "not causal",
    }


def test_q_values_answer_for_all_that_is_tested_together():
    table = judged({"clear": 3.0})
    order = table["p_value"].sort_values(ascending=False)
    q, least = {}, 1.0
    for rank, (feature, p) in zip(range(len(order), 0, -1), order.items(), strict=True):
        least = min(least, p * len(order) / rank)
        q[feature] = least
    assert table["q_value"].to_dict() == pytest.approx(q)


def test_p_is_the_share_of_sign_combinations_as_far_from_zero():
    differences = RNG.normal(0.5, 1, (3, 6))
    signs = np.array(list(itertools.product([-1, 1], repeat=6)))
    for row, p in zip(differences, sign_flip_p(differences, 0), strict=True):
        assert p == pytest.approx(np.mean(np.abs(signs @ row) >= abs(row.sum()) - 1e-12))
    drawn = sign_flip_p(np.full((1, 20), 1.0), 0)
    assert drawn == pytest.approx([1 / 10_001])


def test_the_interval_is_that_of_means_of_resampled_pairs():
    values = RNG.normal(size=(2, 8))
    means = np.random.default_rng(5).choice(values, (20_000, 8), axis=1).mean(axis=2)
    low, high = bootstrap_interval(values, seed=1)
    assert np.stack([low, high]) == pytest.approx(np.quantile(means, [0.025, 0.975], axis=1), abs=0.05)


def test_controls_are_the_nearest_in_length_and_frequency_that_are_not_tested_themselves():
    change = np.array([1.0, 1.1, 1.0, 0.0, 8.0, 1.0])
    frequency = np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.1])
    assert match_controls(change, frequency, 0, [0, 2]).tolist() == [1, 5, 4]
    assert match_controls(change, frequency, 0, [0, 2], count=1).tolist() == [1]
