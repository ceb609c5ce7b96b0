"""Scores from tables made by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from saeattr.errors import UserError
from saeattr.selection.score import ScoreWeights, score_sites

LENS = pd.DataFrame(
    [
        ("a", "1", 0, 2.0),
        ("a", "2", 0, 4.0),
        ("b", "3", 0, -1.0),
        ("a", "1", 1, 0.0),
        ("a", "2", 1, 0.0),
        ("b", "3", 1, 5.0),
    ],
    columns=["group", "pair_id", "layer", "gain"],
).assign(kind="resid_post")
ABLATION = pd.DataFrame(
    [
        ("a", "1", 0, "length", -6.0),
        ("a", "2", 0, "length", 2.0),
        ("a", "1", 0, "decision", -1.0),
        ("b", "3", 0, "length", 4.0),
        ("a", "1", 1, "decision", -8.0),
        ("a", "2", 1, "decision", -8.0),
        ("b", "3", 1, "decision", 0.0),
    ],
    columns=["group", "pair_id", "layer", "role", "effect"],
).assign(kind="resid_post")
FIRST_ORDER = pd.DataFrame(
    [("a", 0, False, 3.0), ("a", 0, True, 1.0), ("b", 0, False, 6.0), ("a", 1, True, 4.0), ("b", 1, True, 0.0)],
    columns=["group", "layer", "at_decision", "size"],
).assign(kind="resid_post")


def scores(**weights: Any) -> pd.DataFrame:
    return score_sites(LENS, ABLATION, FIRST_ORDER, 2, ScoreWeights(**weights)).set_index("layer")


def test_lists_are_averaged_with_signs_and_groups_by_size() -> None:
    table = scores()
    # Lens: |(2 + 4) / 2| in one group, |-1| in the other.
    assert table["lens_gain"].tolist() == pytest.approx([2.0, 2.5])
    # |(-6 + 2) / 2| + |(-1 + 0) / 2| in one group (the second list has no row), |4| in the other.
    assert table["ablation_effect"].tolist() == pytest.approx([3.25, 4.0])
    assert table["gradient_effect"].tolist() == pytest.approx([5.0, 2.0])
    assert (table["discount"] == 1).all()


def test_the_score_is_the_weighted_sum_of_shares_of_the_largest() -> None:
    table = scores(lens=1, ablation=1, gradient=2)
    assert table["score"].tolist() == pytest.approx([(2 / 2.5 + 3.25 / 4 + 2) / 4, (1 + 1 + 2 * 0.4) / 4])
    assert scores(lens=3, ablation=0, gradient=0)["score"].tolist() == pytest.approx([0.8, 1.0])


def test_the_score_does_not_depend_on_the_metrics_unit() -> None:
    small = score_sites(
        LENS.assign(gain=LENS["gain"] / 1000),
        ABLATION.assign(effect=ABLATION["effect"] / 1000),
        FIRST_ORDER.assign(size=FIRST_ORDER["size"] / 1000),
        2,
        ScoreWeights(),
    )
    assert small["score"].tolist() == pytest.approx(scores()["score"].tolist())


def test_a_measurement_that_is_zero_or_missing_everywhere_adds_nothing() -> None:
    nothing = score_sites(LENS.assign(gain=0.0), ABLATION, FIRST_ORDER, 2, ScoreWeights(lens=1, ablation=1, gradient=2))
    expected = [(3.25 / 4 + 2) / 4, (1 + 2 * 0.4) / 4]
    assert nothing["score"].tolist() == pytest.approx(expected)
    missing = score_sites(LENS, ABLATION.iloc[:0], FIRST_ORDER, 2, ScoreWeights(lens=1, ablation=1, gradient=2))
    assert missing["ablation_effect"].tolist() == [0.0, 0.0]
    assert missing["score"].tolist() == pytest.approx([(2 / 2.5 + 2) / 4, (1 + 2 * 0.4) / 4])


def test_discounts_touch_the_last_position_and_the_last_layer_only() -> None:
    table = scores(lens=0, ablation=1, gradient=1, last_position=0)
    assert table["score"].tolist() == pytest.approx([(3 / 4 + 4.5 / 5) / 2, 0.0])
    assert table["discount"].tolist() == pytest.approx([(3 / 4 + 4.5 / 5) / (3.25 / 4 + 1), 0.0])
    assert table["ablation_effect"].tolist() == pytest.approx([3.25, 4.0])
    table = scores(last_layers=0.25)
    assert table["discount"].tolist() == pytest.approx([1.0, 0.25])
    factor = ScoreWeights(last_layers=0.2, last_share=0.5).layer_factor(pd.Series(range(8)), 8)
    assert factor.tolist() == pytest.approx([1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize(
    "weights",
    [
        {"ablation": -1},
        {"last_layers": 1.5},
        {"last_position": float("nan")},
        {"lens": 0, "ablation": 0, "gradient": 0},
    ],
)
def test_senseless_weights_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(UserError, match="score weight"):
        ScoreWeights(**weights)
