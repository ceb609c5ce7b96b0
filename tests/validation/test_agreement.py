"""Attributions beside exact effects, on tables made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saeattr.tables import EXACT, FEATURE
from saeattr.validation.agreement import agreement_warnings, compared_effects, single_estimates, site_agreement
from tests.validation.validated import validated


def features(effects: dict[int, float]) -> pd.DataFrame:
    rows = [("cities", 1, "mlp_out", feature, effect, effect) for feature, effect in effects.items()]
    return pd.DataFrame(rows, columns=["group", *FEATURE, "effect_mean", "effect_median"])


def measured(effects: dict[int, list[float]], evidence: str = "ranking") -> pd.DataFrame:
    """By feature: one effect for each of the pairs 000, 001, ..."""
    rows = [
        ("cities", 1, "mlp_out", feature, feature, evidence, f"{nth:03}", value)
        for feature, values in effects.items()
        for nth, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=EXACT.names)


def test_a_pair_without_an_entry_counts_as_zero_in_a_single_estimate() -> None:
    entries = pd.DataFrame(
        [(1, "mlp_out", 7, "000", 0.5), (1, "mlp_out", 7, "002", -2.0), (1, "mlp_out", 9, "001", 1.0)],
        columns=[*FEATURE, "pair_id", "effect"],
    )
    times = {"000": 1, "001": 1, "002": 3, "003": 1}
    found = single_estimates(entries, features({7: 100.0, 9: 200.0, 11: 300.0}), times)
    assert found["feature"].tolist() == [7, 9]
    assert found["effect_mean"].tolist() == pytest.approx([(0.5 - 3 * 2.0) / 6, 1.0 / 6])
    assert found["effect_median"].tolist() == [0.0, 0.0]


def test_only_the_pairs_that_ranked_are_compared_each_as_often_as_it_was_drawn() -> None:
    """Feature 8 is sampled only, and 10 has no estimate."""
    exact = pd.concat([measured({7: [2.0, 4.0], 8: [1.0, 0.0], 10: [1.0, 1.0]}), measured({7: [50.0, 60.0]}, "test")])
    found = compared_effects(exact, features({7: 3.5, 8: 0.75, 11: 1.0}), features({7: 0.0}), {"000": 3, "001": 1})
    found = found.set_index("feature")
    assert found["exact_mean"].to_dict() == {7: 2.5, 8: 0.75}
    assert found["effect_mean"].to_dict() == {7: 3.5, 8: 0.75}
    assert found["tested"].to_dict() == {7: True, 8: False}


def test_effects_of_the_size_of_rounding_have_no_sign_and_no_rank() -> None:
    """Of four features two do nothing; one estimate is zero to the last bit, all else is noise of either sign."""
    columns = {"group": "cities", "layer": 1, "kind": "mlp_out"}
    estimates = [2.0, -1.0, 0.0, 3e-6]
    for exact in [[1.5, -2.0, one, other] for one in (1e-6, -2e-6) for other in (-1e-6, 0.0)]:
        (row,) = site_agreement(pd.DataFrame({**columns, "effect_mean": estimates, "exact_mean": exact})).to_dict(
            "records"
        )
        # The two that do nothing share a rank.
        assert (row["same_sign"], row["spearman"]) == (1.0, pytest.approx(1.0))
    turned = pd.DataFrame({**columns, "effect_mean": estimates, "exact_mean": [1.5, 2.0, 0.01, 0.0]})
    assert site_agreement(turned)["same_sign"].tolist() == [0.5]


def test_agreement_is_the_correlation_over_the_features_of_a_site() -> None:
    estimates, exact = [1.0, 2.0, 4.0], [1.0, 1.5, 8.0]
    compared = pd.DataFrame({"group": "cities", "layer": 1, "kind": "mlp_out", "effect_mean": estimates})
    (row,) = site_agreement(compared.assign(exact_mean=exact)).to_dict("records")
    assert row["pearson"] == pytest.approx(np.corrcoef(estimates, exact)[0, 1])
    assert (row["n_features"], row["spearman"], row["same_sign"], row["poor"]) == (3, pytest.approx(1.0), 1.0, False)
    two = site_agreement(compared.assign(exact_mean=exact).head(2))
    assert np.isnan(two["pearson"].iloc[0])
    assert not two["poor"].iloc[0]
    assert site_agreement(compared.assign(exact_mean=[1.0, -1.5, 0.3]))["poor"].tolist() == [True]


def test_poor_sites_are_warned_of_by_name() -> None:
    agreement = validated().agreement
    assert not agreement[agreement["kind"] == "resid_post"]["poor"].any()
    bad = agreement.head(1).assign(pearson=0.3, poor=True)
    first = bad.iloc[0]
    (poor,) = agreement_warnings(bad)
    assert poor.startswith(f"{first['group']}: at {first['kind']}.{first['layer']} ")
    assert "0.30" in poor
    fine = agreement.assign(group="c", poor=False)
    (poor,) = agreement_warnings(pd.concat([bad, bad.assign(group="b", pearson=-0.2), fine]))
    assert poor.startswith("2 of 3 groups: ")
    assert "-0.20 to 0.30" in poor
    assert agreement_warnings(fine) == []
