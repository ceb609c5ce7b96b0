"""Validating a group: what is tested, that seeds and batches do not matter, bases, single positions, no effects."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from saeattr.attribution.group import attribute_group
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import run_batch
from saeattr.runs.effects import Change, along_effects, feature_effects
from saeattr.runs.question import Pace, Question
from saeattr.saes.loading import load_sae
from saeattr.settings import BaseName
from saeattr.tables import EXACT, VALIDATION, at_site, features_of, row_site
from saeattr.validation.evidence import make_folds
from saeattr.validation.group import ValidationPlan, validate_features
from saeattr.validation.ranking import NATURAL
from saeattr.validation.site import strongest_entries
from saeattr.validation.verdicts import VERDICTS, validation_table
from tests.validation.validated import SMALL, attributed, validated

NO_CURVES = dataclasses.replace(SMALL, longest_curve=0)


def test_the_top_features_are_tested_in_the_order_of_their_ranks() -> None:
    table, top = validated().validation, attributed().features.head(SMALL.top)
    assert features_of(table) == features_of(top)
    np.testing.assert_allclose(table["effect_mean"], top["effect_mean"])
    np.testing.assert_allclose(table["effect_median"], top["effect_median"])
    assert set(table["verdict"]) <= set(VERDICTS)
    assert (table["exact_low"] <= table["exact_median"]).all()
    assert (table["exact_median"] <= table["exact_high"]).all()
    assert (table["n_controls"] == SMALL.n_controls).all()
    assert (table["q_value"] >= table["p_value"]).all()
    assert (table["n_pairs"] == len(attributed().fresh)).all()


def test_exact_effects_are_those_of_each_feature_alone_in_the_pairs_that_did_not_rank_it() -> None:
    found, table = attributed(), validated().validation
    for row in table.head(2).to_dict("records"):
        site = row_site(row)
        sae = load_sae(next(file for file in found.saes if file.site == site))
        batch = run_batch(found.lm, found.fresh, [site], Question())
        feature = torch.tensor([int(row["feature"])])
        effects = feature_effects(batch, SiteBase("corrupted", sae), feature, 3)
        assert row["exact_mean"] == pytest.approx(float(effects.mean()), abs=1e-5)
        assert row["exact_median"] == pytest.approx(float(np.median(effects.numpy())), abs=1e-5)
        assert batch.corrupted is not None
        gap = (batch.corrupted.metric - batch.clean.metric).numpy()  # pyright: ignore[reportOperatorIssue]
        assert row["gap"] == pytest.approx(float(np.median(gap)), abs=1e-4)


def test_no_pair_that_ranked_tests_and_the_other_way_round() -> None:
    exact = validated().exact
    ids = {
        name: [pair.pair_id for pair in pairs]
        for name, pairs in (("ranking", attributed().pairs), ("test", attributed().fresh))
    }
    for evidence, own in exact.groupby("evidence"):
        assert own["pair_id"].drop_duplicates().tolist() == ids[str(evidence)]
    ranking = exact[exact["evidence"] == "ranking"]
    # By themselves: the tested features and twenty more of each of their sites.
    assert (ranking["feature"] == ranking["along"]).all()
    sites = ranking.groupby(["layer", "kind"])["feature"].nunique()
    assert sites.between(NATURAL, NATURAL + SMALL.top).all()
    assert set(features_of(validated().validation)) <= set(features_of(ranking))


def test_controls_are_of_the_same_site_and_the_same_whatever_else_is_tested() -> None:
    """A feature's row is the same among six as among two, but for q."""
    found = attributed()
    exact = validated().exact
    controls = exact[(exact["evidence"] == "test") & (exact["along"] != exact["feature"])]
    assert len(controls) == SMALL.top * SMALL.n_controls * len(found.fresh)
    fewer = found.validate(dataclasses.replace(NO_CURVES, top=2))
    same = [name for name in VALIDATION.names if name not in ("q_value", "verdict", "natural_share")]
    pd.testing.assert_frame_equal(fewer.validation[same], validated().validation.head(2)[same], atol=1e-5)
    assert (fewer.validation["q_value"] <= validated().validation["q_value"].head(2)).all()


def test_a_strong_feature_is_no_control_short_of_its_length() -> None:
    """Every control moves x as far as its feature: along one direction the effects of two lengths are not alike."""
    exact = validated().exact
    tests = exact[exact["evidence"] == "test"]
    shared = tests[tests["along"] != tests["feature"]].groupby(["layer", "kind", "along"])["feature"].nunique()
    assert shared.max() > 1, "some direction is a control of two features"
    layer, kind, along = shared.idxmax()
    own = tests[(tests["layer"] == layer) & (tests["kind"] == kind) & (tests["along"] == along)]
    by_feature = own.groupby("feature")["exact"].apply(lambda effects: tuple(effects.round(6)))
    assert by_feature.nunique() == len(by_feature)


def test_the_same_seed_gives_the_same_tables() -> None:
    again = attributed().validate()
    for name in ("validation", "curves", "compared", "agreement", "exact"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(validated(), name), check_exact=True)


def test_batch_sizes_do_not_change_an_effect() -> None:
    found = attributed()
    other = found.validate(SMALL, found.task(pace=Pace(batch_size=len(found.pairs), copies=5)))
    np.testing.assert_allclose(other.exact["exact"], validated().exact["exact"], rtol=0, atol=3e-5)
    np.testing.assert_allclose(other.curves["effect_mean"], validated().curves["effect_mean"], rtol=0, atol=1e-5)
    assert (other.exact["along"].to_numpy() == validated().exact["along"].to_numpy()).all()
    assert (other.validation["verdict"] == validated().validation["verdict"]).all()


@pytest.mark.parametrize("base", ["zero", "mean"])
def test_other_bases_measure_other_effects(base: BaseName) -> None:
    found = attributed()
    other = found.validate(NO_CURVES, found.task(Question(base=base)))
    assert features_of(other.validation) == features_of(validated().validation)
    difference = (other.validation["exact_mean"] - validated().validation["exact_mean"]).abs()
    assert difference.max() > 1e-2
    assert other.curves.empty


def test_single_positions_patch_where_the_pairs_own_attribution_is_largest() -> None:
    found = attributed()
    single = found.validate(dataclasses.replace(NO_CURVES, positions="single"))
    row = single.validation.iloc[0].to_dict()
    site, feature = row_site(row), int(row["feature"])
    sae = load_sae(next(file for file in found.saes if file.site == site))
    for pairs, name in ((found.fresh, "test"), (found.pairs, "ranking")):
        batch = run_batch(found.lm, pairs, [site], Question())
        rows = attribute_group(dataclasses.replace(found.task(), pairs=pairs)).attributions
        own = at_site(rows, site)
        own = own[own["feature"] == feature]
        effects, estimates = [], []
        for nth, pair in enumerate(pairs):
            mine = own[own["pair_id"] == pair.pair_id]
            best = mine.loc[mine["effect"].abs().idxmax()]
            where = Change(
                *(
                    torch.tensor([value])
                    for value in (nth, int(best["position"]), float(best["act_base"] - best["act_clean"]))
                )
            )
            effects.append(float(along_effects(batch, sae, feature, where, torch.tensor([feature]), 1)[0, nth]))
            estimates.append(float(best["effect"]))
        exact = at_site(single.exact[single.exact["evidence"] == name], site)
        exact = exact[(exact["feature"] == feature) & (exact["along"] == feature)]
        assert exact["exact"].tolist() == pytest.approx(effects, abs=1e-5)
    # The last are those of the pairs that ranked.
    assert row["effect_mean"] == pytest.approx(np.mean(estimates), abs=1e-5)
    assert row["effect_median"] == pytest.approx(np.median(estimates), abs=1e-5)


def test_strongest_entries_of_a_hand_made_table() -> None:
    rows = pd.DataFrame(
        [(1, "mlp_out", 7, "a", 3, 0.5), (1, "mlp_out", 7, "a", 5, -0.9), (1, "mlp_out", 7, "b", 2, 0.1)],
        columns=["layer", "kind", "feature", "pair_id", "position", "effect"],
    )
    assert strongest_entries(rows)["position"].tolist() == [5, 2]


def swapped(pairs: list[Pair]) -> list[Pair]:
    """With wanted and unwanted tokens of the metric exchanged."""
    turned = []
    for pair in pairs:
        points = (dataclasses.replace(one, wanted=one.unwanted, unwanted=one.wanted) for one in pair.points)
        turned.append(dataclasses.replace(pair, points=tuple(points)))
    return turned


def test_swapped_metric_tokens_turn_every_effect() -> None:
    found = attributed()
    task = dataclasses.replace(found.task(), pairs=swapped(found.pairs))
    turned = validate_features(task, found.estimates, NO_CURVES, swapped(found.fresh))
    np.testing.assert_allclose(turned.exact["exact"], -validated().exact["exact"], rtol=0, atol=1e-5)


def test_on_shuffled_metric_tokens_few_features_are_causal() -> None:
    """Which token is plus is shuffled pair by pair, in every way there is; so no feature has an effect by design.

    Swapping a pair's metric tokens turns the sign of its effects, estimated and exact (the test above).
    """
    exact, features = validated().exact, attributed().features
    gaps = dict.fromkeys([pair.pair_id for pair in attributed().fresh], float(validated().validation["gap"].iloc[0]))
    shares = []
    for code in range(2 ** (len(gaps) - 1)):
        signs = {name: 1 - 2 * (code >> nth & 1) for nth, name in enumerate(gaps)}
        turned = exact["exact"] * exact["pair_id"].map(signs).fillna(1).astype(float)
        table = validation_table(exact.assign(exact=turned), features, gaps, 0.01)
        shares.append((table["verdict"] == "causal").mean())
    # One of the 32 ways is the way it was.
    assert np.mean(shares) <= 1.5 / 32


def test_a_group_without_active_features_gives_empty_tables() -> None:
    found = attributed()
    nothing = found.validate(ValidationPlan(top=0))
    assert nothing.exact.columns.tolist() == EXACT.names
    for name in ("validation", "curves", "compared", "agreement", "exact"):
        assert getattr(nothing, name).empty


def test_what_the_tests_can_show_is_said_before_they_are_made() -> None:
    found, steps = attributed(), []
    task = dataclasses.replace(found.task(), on_step=lambda step, done, total: steps.append(step))
    power = found.validate(NO_CURVES, task).power
    assert power.startswith("6 distinct pairs test 6 features: ")
    assert steps.index(power) < steps.index("exact effects")


def test_halves_test_each_other_where_no_fresh_pairs_can_be_had() -> None:
    """A feature's exact effects come from the pairs of the half that did not rank it; ranked by both, from all."""
    found = attributed()
    crossed = validate_features(found.task(), found.estimates, dataclasses.replace(SMALL, longest_curve=2))
    folds = make_folds(found.pairs, found.estimates, None)
    tests = crossed.exact[crossed.exact["evidence"] == "test"]
    used = {key: set(own["pair_id"]) for key, own in tests.groupby(["layer", "kind", "feature"])}
    expected: dict[tuple, set[str]] = {}
    for fold in folds:
        for row in fold.ranked.head(SMALL.top).to_dict("records"):
            own = expected.setdefault((row["layer"], row["kind"], row["feature"]), set())
            own |= {pair.pair_id for pair in fold.pairs}
    assert used == expected
    assert crossed.validation["n_pairs"].tolist() == [
        len(expected[row["layer"], row["kind"], row["feature"]]) for row in crossed.validation.to_dict("records")
    ]
    assert crossed.curves["removed"].notna().all()


def test_without_a_fresh_pair_nothing_is_tested() -> None:
    found = attributed()
    nothing = validate_features(found.task(), found.estimates, SMALL, [])
    assert nothing.validation.empty
    assert nothing.curves.empty
    assert nothing.power == ""
    assert nothing.exact.columns.tolist() == EXACT.names
    # What can be measured is: the exact effects in the pairs that ranked, as every validation has them.
    tested = validated()
    ranking = tested.exact[tested.exact["evidence"] == "ranking"].reset_index(drop=True)
    pd.testing.assert_frame_equal(nothing.exact, ranking)
    pd.testing.assert_frame_equal(nothing.compared.assign(tested=False), tested.compared.assign(tested=False))
    assert not nothing.compared["tested"].any()


def test_too_few_pairs_are_measured_and_give_no_verdict() -> None:
    found = attributed()
    few = validate_features(found.task(), found.estimates, dataclasses.replace(NO_CURVES, top=2), found.fresh[:5])
    assert few.validation["verdict"].tolist() == ["too few pairs"] * 2
    assert few.validation["exact_median"].notna().all()
    assert few.validation[["exact_low", "exact_high"]].isna().all(axis=None)
    assert "too few for a verdict" in few.power


@pytest.mark.parametrize("base", ["zero", "mean"])
def test_pairs_without_a_corrupted_prompt_are_proved_alike(base: BaseName) -> None:
    """Only the share of the clean-corrupted gap is unknown, because there is no gap."""
    found, short = attributed(), dataclasses.replace(SMALL, top=3, longest_curve=2)
    bare, fresh = (
        [dataclasses.replace(pair, corrupted_ids=None) for pair in pairs] for pairs in (found.pairs, found.fresh)
    )
    task = found.task(Question(base=base))
    with_it = found.validate(short, task)
    without = validate_features(dataclasses.replace(task, pairs=bare), found.estimates, short, fresh)
    for name in ("compared", "agreement", "exact"):
        pd.testing.assert_frame_equal(getattr(without, name), getattr(with_it, name))
    of_gap = ["gap", "share"]
    told = [*of_gap, "verdict"]
    pd.testing.assert_frame_equal(without.validation.drop(columns=told), with_it.validation.drop(columns=told))
    assert without.validation[of_gap].isna().all(axis=None)
    gap = ["removed", "removed_low", "removed_high"]
    pd.testing.assert_frame_equal(without.curves.drop(columns=gap), with_it.curves.drop(columns=gap))
    assert without.curves[gap].isna().all(axis=None)
    assert with_it.curves[gap].notna().all(axis=None)


def test_proving_against_the_corrupted_base_is_refused_in_one_line_without_a_corrupted_prompt() -> None:
    found = attributed()
    bare = [*found.pairs[:1], dataclasses.replace(found.pairs[1], corrupted_ids=None), *found.pairs[2:]]
    with pytest.raises(UserError, match=r"^pair \w+ of 'animals' has no corrupted prompt: .*--base zero or mean only$"):
        found.validate(NO_CURVES, dataclasses.replace(found.task(), pairs=bare))
