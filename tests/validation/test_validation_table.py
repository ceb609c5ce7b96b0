"""From effects to a table of verdicts, on effects made by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from saeattr.validation.verdicts import (
    EFFECT_COLUMNS,
    compared_effects,
    mean_estimates,
    site_agreement,
    validation_table,
)

KEYS = ["layer", "kind", "feature"]


def features(effects: dict[int, float]) -> pd.DataFrame:
    rows = [("cities", 1, "mlp_out", feature, effect) for feature, effect in effects.items()]
    return pd.DataFrame(rows, columns=["group", *KEYS, "effect_mean"])


def measured(effects: dict[tuple[int, int], list[float]]) -> pd.DataFrame:
    """By (tested feature, patched feature): one effect for each of the pairs 000, 001, ..."""
    rows = [
        ("cities", 1, "mlp_out", feature, patched, f"{nth:03}", value)
        for (feature, patched), values in effects.items()
        for nth, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=EFFECT_COLUMNS)


def test_a_list_without_an_entry_counts_as_zero_in_the_estimate() -> None:
    entries = pd.DataFrame(
        [(1, "mlp_out", 7, "000", 0.5), (1, "mlp_out", 7, "002", -2.0), (1, "mlp_out", 9, "001", 1.0)],
        columns=[*KEYS, "pair_id", "effect"],
    )
    found = mean_estimates(entries, features({7: 100.0, 9: 200.0, 11: 300.0}), n_pairs=4)
    assert found["feature"].tolist() == [7, 9]
    assert found["effect_mean"].tolist() == pytest.approx([-1.5 / 4, 1.0 / 4])


def test_means_and_p_values_are_over_all_lists_and_controls() -> None:
    lists = [f"{nth:03}" for nth in range(6)]
    own, low, high = [5.0, 6.0, 7.0, 5.0, 6.0, 7.0], [1.0, 0.0, 1.0, 0.0, 1.0, 0.0], [2.0] * 6
    found = validation_table(
        measured({(3, 3): [0.1] * 6, (7, 7): own, (7, 8): low, (7, 9): high}), features({3: 0.2, 7: -4.0}), pairs, 0
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
