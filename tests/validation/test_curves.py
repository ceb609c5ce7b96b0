"""Cumulative curves against their definitions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from saeattr.runs.batch import run_batch
from saeattr.runs.question import Pace, Question
from saeattr.sites import Site
from saeattr.stats import ratio_interval
from saeattr.tables import CURVES, features_of
from saeattr.validation.curves import (
    ALL,
    ALL_AND_ERROR,
    EQUAL,
    Course,
    cumulative_curves,
    features_for_half,
)
from saeattr.validation.joint import FeatureSet, joint_effects
from tests.validation.validated import PACE, SMALL, attributed, validated


def test_four_orders_and_controls_at_powers_of_two_and_their_ends() -> None:
    curves = validated().curves
    assert curves.columns.tolist() == CURVES.names
    orders = curves[~curves["order"].isin([ALL, ALL_AND_ERROR])]
    assert orders["order"].unique().tolist() == ["attribution", "exact", "activation", "random", EQUAL]
    for _, own in orders.groupby("order"):
        assert own["n_features"].tolist() == [1, 2, 4, SMALL.longest_curve]


def test_the_exact_order_is_of_the_pairs_that_ranked_and_measured_on_the_others() -> None:
    """What the first of it removes is its own exact effect on the pairs that test."""
    exact, table = validated().exact, validated().validation
    curves = validated().curves
    ranking = exact[exact["evidence"] == "ranking"].groupby(["layer", "kind", "feature"])["exact"].mean().abs()
    tested = {(site.layer, site.kind, feature) for site, feature in features_of(table)}
    layer, kind, feature = ranking[[key in tested for key in ranking.index]].idxmax()
    first = curves[(curves["order"] == "exact") & (curves["n_features"] == 1)].iloc[0]
    own = table[(table["layer"] == layer) & (table["kind"] == kind) & (table["feature"] == feature)].iloc[0]
    assert first["effect_mean"] == pytest.approx(own["exact_mean"], abs=1e-5)


def test_controls_of_the_curves_move_x_as_far_and_do_less() -> None:
    curves = validated().curves
    controls = curves[curves["order"] == EQUAL]
    np.testing.assert_allclose(controls["length_ratio"], 1.0, atol=1e-4)
    assert curves[curves["order"] != EQUAL]["length_ratio"].isna().all()
    assert controls[["faithfulness", "completeness"]].isna().all(axis=None)
    own = curves[curves["order"] == "attribution"]
    assert controls["n_features"].tolist() == own["n_features"].tolist()
    assert abs(controls["removed"].iloc[-1]) < own["removed"].iloc[-1]


def test_faithfulness_and_completeness_are_as_defined() -> None:
    """From the metrics m(C), m(M \\ C), m(M) and m(0) themselves."""
    found = attributed()
    files = [file for file in found.saes if file.site in (Site("resid_post", 2), Site("resid_post", 5))]
    sites = [file.site for file in files]
    batch = run_batch(found.lm, found.pairs, sites, Question())
    assert batch.clean.metric is not None
    assert batch.corrupted is not None
    assert batch.corrupted.metric is not None
    order = [key for key in features_of(found.features) if key[0] in sites][:2]
    named = {site: [feature for own, feature in order if own == site] for site in sites}
    sets = [FeatureSet(named, keep=True), FeatureSet(named), FeatureSet(), FeatureSet(keep=True)]
    changes = joint_effects([batch], files, sets, 16).effects
    m_c, m_without, m_all, m_none = (batch.clean.metric + changes).double().mean(1).tolist()
    curves = cumulative_curves([Course([batch], {"own": [order]})], files, [], PACE)
    row = curves[curves["n_features"] == 2].iloc[0]
    assert row["faithfulness"] == pytest.approx((m_c - m_none) / (m_all - m_none), abs=1e-4)
    assert row["completeness"] == pytest.approx((m_without - m_none) / (m_all - m_none), abs=1e-4)
    gap = float((batch.corrupted.metric - batch.clean.metric).mean())
    assert row["removed"] == pytest.approx((m_without - m_all) / gap, abs=1e-4)
    everything = curves[curves["order"] == ALL].iloc[0]
    assert everything["faithfulness"] == pytest.approx(1)
    assert everything["completeness"] == pytest.approx(0)


def test_several_random_orders_are_averaged_list_by_pair() -> None:
    found = attributed()
    files = [file for file in found.saes if file.site == Site("mlp_out", 4)]
    site = files[0].site
    batch = run_batch(found.lm, found.pairs, [site], Question(base="zero"))
    draws = [[(site, 3)], [(site, 88)], [(site, 40)]]
    curves = cumulative_curves([Course([batch], {"random": draws})], files, [], PACE)
    sets = [FeatureSet({site: [feature]}) for ((_, feature),) in draws]
    alone = joint_effects([batch], files, sets, 16).effects
    assert float(curves[curves["order"] == "random"]["effect_mean"].iloc[0]) == pytest.approx(
        float(alone.mean()), abs=1e-6
    )


def test_every_point_of_several_orders_is_the_mean_over_their_first_features() -> None:
    """Two orders of unlike length go as far as the shorter; the shares are ratios of means, pair by pair in pairs."""
    found = attributed()
    files = [file for file in found.saes if file.site == Site("resid_post", 2)]
    site = files[0].site
    batch = run_batch(found.lm, found.pairs, [site], Question(base="zero"))
    ranked = [feature for own, feature in features_of(found.features) if own == site]
    draws = [[(site, feature) for feature in own] for own in (ranked[:3], ranked[3:7])]
    curves = cumulative_curves([Course([batch], {"two": draws})], files, [], Pace(seed=4))
    assert curves["n_features"].tolist() == [files[0].d_sae] * 2 + [1, 2, 3]
    everything = joint_effects([batch], files, [FeatureSet(keep=True)], 16).effects[0]
    for row in curves[curves["order"] == "two"].to_dict("records"):
        named = [{site: [feature for _, feature in order[: row["n_features"]]]} for order in draws]
        sets = [FeatureSet(one) for one in named] + [FeatureSet(one, keep=True) for one in named]
        patched, kept = joint_effects([batch], files, sets, 16).effects.view(2, 2, -1)
        assert row["effect_mean"] == pytest.approx(float(patched.mean()), abs=1e-5)
        faithful = ratio_interval((kept.mean(0) - everything).double().numpy(), -everything.double().numpy())
        found_shares = [row[f"faithfulness{end}"] for end in ("", "_low", "_high")]
        assert found_shares == pytest.approx(faithful, abs=1e-4)


def test_patching_features_and_error_terms_of_a_residual_stream_removes_the_whole_gap() -> None:
    """In every pair, so the interval has no width; what is kept has no meaning there."""
    found = attributed()
    files = [file for file in found.saes if file.site == Site("resid_post", 2)]
    batch = run_batch(found.lm, found.pairs, [files[0].site], Question())
    curves = cumulative_curves([Course([batch], {})], files, [], PACE)
    both = curves[curves["order"] == ALL_AND_ERROR].iloc[0]
    assert [both["removed"], both["removed_low"], both["removed_high"]] == pytest.approx([1, 1, 1], abs=1e-3)
    assert np.isnan(both["faithfulness"])
    assert np.isnan(both["completeness"])


def test_pairs_of_two_folds_are_put_side_by_side_each_in_its_own_order() -> None:
    found = attributed()
    files = [file for file in found.saes if file.site == Site("mlp_out", 4)]
    site = files[0].site
    parts = [(found.pairs, [(site, 3), (site, 88)]), (found.fresh, [(site, 40)])]
    batches = [run_batch(found.lm, pairs, [site], Question(base="zero")) for pairs, _ in parts]
    courses = [Course([batch], {"own": [order]}) for batch, (_, order) in zip(batches, parts, strict=True)]
    curves = cumulative_curves(courses, files, [], PACE)
    # As far as the shorter order goes.
    (row,) = curves[curves["order"] == "own"].to_dict("records")
    alone = [
        joint_effects([batch], files, [FeatureSet({site: [order[0][1]]})], 16).effects
        for batch, (_, order) in zip(batches, parts, strict=True)
    ]
    assert row["effect_mean"] == pytest.approx(float(torch.cat(alone, dim=1).mean()), abs=1e-6)


def test_how_many_features_remove_half() -> None:
    rows = [("a", 1, 0.2), ("a", 2, 0.5), ("a", 4, 0.9), ("b", 1, 0.1), ("b", 2, 0.3), (ALL, 9, 1.0)]
    curves = pd.DataFrame(rows, columns=["order", "n_features", "removed"]).assign(group="cities")
    half = features_for_half(curves).set_index("order")["n_features"]
    assert half["a"] == 2
    assert np.isnan(half["b"])
    assert ALL not in half


def test_attribution_order_removes_more_than_random_order() -> None:
    curves = validated().curves
    longest = curves[curves["n_features"] == SMALL.longest_curve].set_index("order")["removed"]
    assert longest["attribution"] > longest["random"] + 0.1


def test_the_seed_draws_the_random_orders() -> None:
    found = attributed()
    other = found.validate(
        dataclasses.replace(SMALL, longest_curve=2), found.task(pace=dataclasses.replace(PACE, seed=5))
    ).curves
    torch.testing.assert_close(
        torch.tensor(other[other["order"] == "attribution"]["effect_mean"].to_numpy()),
        torch.tensor(validated().curves.query("order == 'attribution' and n_features <= 2")["effect_mean"].to_numpy()),
        rtol=0,
        atol=1e-5,
    )
    same = validated().curves.query("order == 'random' and n_features <= 2")["effect_mean"].to_numpy()
    assert not np.array_equal(other[other["order"] == "random"]["effect_mean"].to_numpy(), same)
