"""Validating a group: what is tested, that seeds and batches do not matter, bases, single positions, no effects."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from saeattr.errors import UserError
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import run_batch
from saeattr.runs.effects import Entries, entry_effects, feature_effects
from saeattr.runs.question import Pace, Question
from saeattr.saes.loading import load_sae
from saeattr.settings import BaseName
from saeattr.sites import Site
from saeattr.tables import EXACT, features_of
from saeattr.validation.controls import profile_site
from saeattr.validation.group import ValidationPlan
from saeattr.validation.site import strongest_entries
from saeattr.validation.verdicts import (
    VERDICTS,
    agreement_warnings,
    few_pairs_warnings,
    validation_table,
)
from tests.validation.validated import SMALL, attributed, validated

NO_CURVES = dataclasses.replace(SMALL, longest_curve=0)


def test_the_top_features_are_tested_in_the_order_of_their_ranks() -> None:
    table, top = validated().validation, attributed().features.head(SMALL.top)
    assert features_of(table) == features_of(top)
    np.testing.assert_allclose(table["effect_mean"], top["effect_mean"])
    assert set(table["verdict"]) <= set(VERDICTS)
    assert (table["exact_low"] <= table["exact_mean"]).all()
    assert (table["exact_mean"] <= table["exact_high"]).all()
    assert (table["n_controls"] == SMALL.n_controls).all()
    assert (table["q_value"] >= table["p_value"]).all()


def test_exact_means_are_those_of_each_feature_alone() -> None:
    found, table = attributed(), validated().validation
    for row in table.head(2).to_dict("records"):
        site = Site(row["kind"], int(row["layer"]))
        sae = load_sae(next(file for file in found.saes if file.site == site))
        batch = run_batch(found.lm, found.pairs, [site], Question())
        feature = torch.tensor([int(row["feature"])])
        effects = feature_effects(batch, SiteBase("corrupted", sae), feature, 3)
        assert row["exact_mean"] == pytest.approx(float(effects.mean()), abs=1e-5)


def test_controls_are_of_the_same_site_and_never_tested_features() -> None:
    exact, tested = validated().exact, set(features_of(validated().validation))
    controls = exact[exact["patched"] != exact["feature"]]
    assert len(controls) == SMALL.top * SMALL.n_controls * len(attributed().pairs)
    of_controls = controls.assign(feature=controls["patched"])
    assert not tested & set(features_of(of_controls))


def test_controls_are_near_in_size_and_frequency() -> None:
    """Nearer than features drawn at random, in both."""
    found, exact = attributed(), validated().exact
    for layer, kind in exact[["layer", "kind"]].drop_duplicates().itertuples(index=False):
        site = Site(kind, int(layer))
        sae = load_sae(next(file for file in found.saes if file.site == site))
        batch = run_batch(found.lm, found.pairs, [site], Question())
        profile = profile_site(SiteBase("corrupted", sae), [batch])
        logs = np.log(np.stack([profile.change_norm, profile.frequency])[:, profile.frequency > 0])
        ids = np.flatnonzero(profile.frequency > 0)
        own = exact[(exact["layer"] == layer) & (exact["kind"] == kind)]
        for feature, part in own.groupby("feature"):
            distance = np.abs(logs - logs[:, ids == feature]).sum(0)
            chosen = np.isin(ids, part["patched"].unique()) & (ids != feature)
            others = ~chosen & ~np.isin(ids, own["feature"].unique())
            assert distance[chosen].max() <= distance[others].min()


def test_the_same_seed_gives_the_same_tables() -> None:
    again = attributed().validate()
    for name in ("validation", "curves", "compared", "agreement", "exact"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(validated(), name), check_exact=True)


def test_batch_sizes_do_not_change_an_effect() -> None:
    found = attributed()
    other = found.validate(SMALL, found.task(pace=Pace(batch_size=len(found.pairs), copies=5)))
    np.testing.assert_allclose(other.exact["exact"], validated().exact["exact"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(other.curves["effect_mean"], validated().curves["effect_mean"], rtol=0, atol=1e-5)
    assert (other.exact["patched"].to_numpy() == validated().exact["patched"].to_numpy()).all()
    assert (other.validation["verdict"] == validated().validation["verdict"]).all()


@pytest.mark.parametrize("base", ["zero", "mean"])
def test_other_bases_measure_other_effects(base: BaseName) -> None:
    found = attributed()
    other = found.validate(NO_CURVES, found.task(Question(base=base)))
    assert features_of(other.validation) == features_of(validated().validation)
    difference = (other.validation["exact_mean"] - validated().validation["exact_mean"]).abs()
    assert difference.max() > 1e-2
    assert other.curves.empty


def test_single_positions_patch_where_the_attribution_is_largest() -> None:
    found = attributed()
    single = found.validate(dataclasses.replace(NO_CURVES, positions="single"))
    row = single.validation.iloc[0]
    site, feature = Site(row["kind"], int(row["layer"])), int(row["feature"])
    sae = load_sae(next(file for file in found.saes if file.site == site))
    batch = run_batch(found.lm, found.pairs, [site], Question())
    rows = found.tables.attributions
    own = rows[(rows["layer"] == site.layer) & (rows["kind"] == site.kind) & (rows["feature"] == feature)]
    effects, estimates = [], []
    for nth, pair in enumerate(found.pairs):
        mine = own[own["pair_id"] == pair.pair_id]
        best = mine.loc[mine["effect"].abs().idxmax()]
        where = Entries(*(torch.tensor([value]) for value in (nth, int(best["position"]), feature)))
        effects.append(float(entry_effects(batch, SiteBase("corrupted", sae), where, 1)))
        estimates.append(float(best["effect"]))
    assert row["exact_mean"] == pytest.approx(np.mean(effects), abs=1e-5)
    assert row["effect_mean"] == pytest.approx(np.mean(estimates), abs=1e-5)


def test_strongest_entries_of_a_hand_made_table() -> None:
    rows = pd.DataFrame(
        [(1, "mlp_out", 7, "a", 3, 0.5), (1, "mlp_out", 7, "a", 5, -0.9), (1, "mlp_out", 7, "b", 2, 0.1)],
        columns=["layer", "kind", "feature", "pair_id", "position", "effect"],
    )
    assert strongest_entries(rows)["position"].tolist() == [5, 2]


def test_swapped_metric_tokens_turn_every_effect() -> None:
    found = attributed()
    swapped = []
    for pair in found.pairs:
        points = (dataclasses.replace(one, wanted=one.unwanted, unwanted=one.wanted) for one in pair.points)
        swapped.append(dataclasses.replace(pair, points=tuple(points)))
    turned = found.validate(NO_CURVES, dataclasses.replace(found.task(), pairs=swapped))
    np.testing.assert_allclose(turned.exact["exact"], -validated().exact["exact"], rtol=0, atol=1e-5)


def test_on_shuffled_metric_tokens_few_features_are_causal() -> None:
    """Which token is plus is shuffled pair by pair, in every way there is; so no feature has an effect by design.

    Swapping a pair's metric tokens turns the sign of its effects, estimated and exact (the test above).
    """
    exact, table = validated().exact, validated().validation
    pair_ids = [pair.pair_id for pair in attributed().pairs]
    estimates = attributed().features
    shares = []
    for code in range(2 ** (len(pair_ids) - 1)):
        signs = {name: 1 - 2 * (code >> nth & 1) for nth, name in enumerate(pair_ids)}
        shuffled = exact.assign(exact=exact["exact"] * exact["pair_id"].map(signs).astype(float))
        shares.append((validation_table(shuffled, estimates, pair_ids, 0)["verdict"] == "causal").mean())
    assert np.mean(shares) <= 0.05
    assert (table["verdict"] == "causal").mean() > 0.5


def test_a_group_without_active_features_gives_empty_tables() -> None:
    found = attributed()
    nothing = found.validate(ValidationPlan(top=0))
    assert nothing.exact.columns.tolist() == EXACT.names
    for name in ("validation", "curves", "compared", "agreement", "exact"):
        assert getattr(nothing, name).empty


def test_agreement_is_stated_by_site_and_warned_of_where_it_is_poor() -> None:
    agreement = validated().agreement
    assert (agreement["pearson"].dropna() > 0.8).all()
    assert not agreement["poor"].any()
    assert agreement_warnings(agreement) == []
    bad = agreement.head(1).assign(pearson=0.3, poor=True)
    first = bad.iloc[0]
    (poor,) = agreement_warnings(bad)
    assert poor.startswith(f"{first['group']}: at {first['kind']}.{first['layer']} ")
    assert "0.30" in poor
    three = pd.concat([bad, bad.assign(group="b", pearson=-0.2), agreement.assign(group="c")])
    (poor,) = agreement_warnings(three)
    assert poor.startswith("2 of 3 groups: ")
    assert "-0.20 to 0.30" in poor


def test_too_few_pairs_are_warned_of() -> None:
    assert few_pairs_warnings(6) == []
    assert "too few" in few_pairs_warnings(5)[0]


@pytest.mark.parametrize("base", ["zero", "mean"])
def test_pairs_without_a_corrupted_prompt_are_proved_alike(base: BaseName) -> None:
    """Only the share of the clean-corrupted gap is unknown, because there is no gap."""
    found, short = attributed(), dataclasses.replace(SMALL, top=3, n_controls=2, longest_curve=2)
    bare = [dataclasses.replace(pair, corrupted_ids=None) for pair in found.pairs]
    task = found.task(Question(base=base))
    with_it, without = (found.validate(short, dataclasses.replace(task, pairs=some)) for some in (found.pairs, bare))
    for name in ("validation", "compared", "agreement", "exact"):
        pd.testing.assert_frame_equal(getattr(without, name), getattr(with_it, name))
    gap = ["removed", "removed_low", "removed_high"]
    pd.testing.assert_frame_equal(without.curves.drop(columns=gap), with_it.curves.drop(columns=gap))
    assert without.curves[gap].isna().all(axis=None)
    assert with_it.curves[gap].notna().all(axis=None)


def test_proving_against_the_corrupted_base_is_refused_in_one_line_without_a_corrupted_prompt() -> None:
    found = attributed()
    bare = [*found.pairs[:1], dataclasses.replace(found.pairs[1], corrupted_ids=None), *found.pairs[2:]]
    with pytest.raises(UserError, match=r"^pair \w+ of 'animals' has no corrupted prompt: .*--base zero or mean only$"):
        found.validate(NO_CURVES, dataclasses.replace(found.task(), pairs=bare))
