"""Changes of estimated effects: their two parts, what localises a tuned layer, intervals and q-values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saeattr.comparison.changes import entry_changes, feature_changes, site_changes, with_q_values
from saeattr.sites import Site
from saeattr.tables import FEATURE, sites_of
from tests.comparison.tuned import LAYER, compared, studies

PARTS = ["activation_part", "slope_part"]


def below(table: pd.DataFrame) -> np.ndarray:
    """Rows at sites that the model computes before anything of the tuned layer."""
    return np.array([site < Site("attn_z", LAYER) for site in sites_of(table)])


def rows(effects: dict[tuple[str, int, int], tuple[float, float, float]]) -> pd.DataFrame:
    """Attributions of one site: by (pair, feature, position), clean and base activation and slope."""
    table = pd.DataFrame(
        [
            {"pair_id": pair, "layer": 1, "kind": "mlp_out", "feature": feature, "position": position}
            | {"group": "g", "act_clean": clean, "act_base": base, "grad": grad, "effect": (base - clean) * grad}
            for (pair, feature, position), (clean, base, grad) in effects.items()
        ]
    )
    return table


def test_a_change_is_the_sum_of_what_activations_and_slope_make() -> None:
    a = rows({("p", 1, 4): (2.0, 0.0, 3.0), ("p", 1, 5): (1.0, 1.5, 2.0)})
    b = rows({("q", 1, 4): (3.0, 0.0, 5.0), ("q", 2, 4): (1.0, 0.0, 7.0)})
    found = entry_changes(a, b, {"p": "q"}).set_index(["feature", "position"])
    # d goes from -2 to -3 at a mean slope of 4; the slope from 3 to 5 at a mean d of -2.5.
    assert found.loc[(1, 4), PARTS].tolist() == [-4.0, -5.0]
    # In A alone and in B alone: all of it is the activations'.
    assert found.loc[(1, 5), PARTS].tolist() == [-1.0, 0.0]
    assert found.loc[(2, 4), PARTS].tolist() == [-7.0, 0.0]
    change = found["effect_b"] - found["effect_a"]
    np.testing.assert_allclose(change, found[PARTS].sum(axis=1))


def test_changes_the_other_way_round_have_the_other_sign() -> None:
    a, b = (study.attributions("cities") for study in studies())
    ids = dict.fromkeys(a["pair_id"])
    there = entry_changes(a, b, {pair: pair for pair in ids})
    back = entry_changes(b, a, {pair: pair for pair in ids})
    np.testing.assert_allclose(there[PARTS], -back[PARTS], atol=1e-12)


def test_a_feature_of_the_table_has_the_numbers_of_the_two_studies() -> None:
    a, b = (study.attributions("cities") for study in studies())
    for row in compared().changes.head(5).to_dict("records"):
        by_pair = []
        for table in (a, b):
            own = table[(table[FEATURE] == [row[key] for key in FEATURE]).all(axis=1)]
            by_pair.append(own.groupby("pair_id")["effect"].sum().reindex(sorted(set(a["pair_id"])), fill_value=0.0))
        change = by_pair[1] - by_pair[0]
        assert row["effect_a"] == pytest.approx(by_pair[0].median(), rel=1e-4, abs=1e-5)
        assert row["effect_b"] == pytest.approx(by_pair[1].median(), rel=1e-4, abs=1e-5)
        assert row["change_median"] == pytest.approx(change.median(), rel=1e-3, abs=1e-5)
        assert row["change_mean"] == pytest.approx(change.mean(), rel=1e-3, abs=1e-5)
        assert row["n_pairs"] == 8
        assert row["change_low"] <= row["change_median"] <= row["change_high"]


def test_both_parts_add_up_for_every_feature() -> None:
    table = compared().changes
    assert len(table) > 1000
    np.testing.assert_allclose(table[PARTS].sum(axis=1), table["change_mean"], atol=1e-9)


def test_activations_change_from_the_tuned_layer_on_and_not_below() -> None:
    """The statement that localises: below, exactly nothing; at the layer and above, every site."""
    sites = compared().sites
    assert (sites.loc[below(sites), "activation_change"] == 0).all()
    assert (sites.loc[~below(sites), "activation_change"] > 0.01).all()
    changes = compared().changes
    assert (changes.loc[below(changes), "activation_part"] == 0).all()
    assert changes.loc[~below(changes), "activation_part"].ne(0).mean() > 0.9


def test_effects_below_the_tuned_layer_do_change_through_the_slope() -> None:
    """So a changed effect alone does not localise: what is below reaches the metric through the tuned layer."""
    changes = compared().changes
    assert changes.loc[below(changes), "slope_part"].ne(0).all()
    assert changes.loc[below(changes), "slope_part"].abs().max() > 0.1


def test_a_feature_with_an_effect_in_fewer_than_half_of_the_pairs_is_not_compared() -> None:
    pairs = [f"p{at}" for at in range(8)]
    often = {(pair, 1, 3): (1.0, 0.0, 1.0) for pair in pairs[:4]}
    seldom = {(pair, 2, 3): (1.0, 0.0, 1.0) for pair in pairs[:3]}
    entries = entry_changes(rows(often | seldom), rows({("p7", 9, 3): (1.0, 0.0, 1.0)}), {pair: pair for pair in pairs})
    table = feature_changes("g", entries, dict.fromkeys(pairs, 1))
    assert table["feature"].tolist() == [1]
    assert table["n_active"].tolist() == [4]


def test_a_pair_drawn_twice_weighs_twice_in_the_mean_and_once_in_the_median() -> None:
    pairs = {"p": 3, "q": 1, "r": 1}
    a = rows({(pair, 1, 2): (0.0, 1.0, 1.0) for pair in pairs})
    b = rows({(pair, 1, 2): (0.0, 1.0, 1.0 + grown) for pair, grown in zip(pairs, (5.0, 0.0, 1.0), strict=True)})
    (row,) = feature_changes("g", entry_changes(a, b, {pair: pair for pair in pairs}), pairs).to_dict("records")
    assert row["change_mean"] == pytest.approx((3 * 5 + 0 + 1) / 5)
    assert row["change_median"] == 1.0


def test_q_values_answer_for_the_groups_together() -> None:
    table = compared().changes
    both = with_q_values(pd.concat([table, table.assign(group="other", p_value=1.0)]))
    assert (both["q_value"] >= both["p_value"]).all()
    own = both[both["group"] == "cities"]["q_value"].to_numpy()
    assert (own >= table["q_value"].to_numpy() - 1e-12).all()
    assert own.max() > table["q_value"].min()


def test_where_no_feature_is_compared_the_site_is_still_told() -> None:
    pairs = {f"p{at}": f"p{at}" for at in range(8)}
    a, b = rows({("p0", 1, 2): (1.0, 0.0, 1.0)}), rows({("p1", 2, 2): (1.0, 0.0, 1.0)})
    entries = entry_changes(a, b, pairs)
    table = feature_changes("g", entries, dict.fromkeys(pairs, 1))
    assert table.empty
    (site,) = site_changes("g", entries, table, 0.05).to_dict("records")
    assert (site["n_features"], site["n_changed"]) == (0, 0)
    # One activation of 1 is gone and one is new: sqrt(2) of what was there.
    assert site["activation_change"] == pytest.approx(2**0.5)
