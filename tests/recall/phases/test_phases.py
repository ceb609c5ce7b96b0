"""Phases by hand and against slow loops; claims that hold and break; orderings in the bundled model."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

import saeattr
from saeattr import Study
from saeattr.recall.phases.claims import PhaseTables, phase_claims
from saeattr.recall.phases.draws import DRAWS, draw_interval, fact_weights
from saeattr.recall.phases.ranges import (
    carried,
    centre,
    concentration,
    fewest_layers,
    largest_part,
    late_part,
    layer_range,
    orders,
    phases,
)
from saeattr.recall.phases.redundancy import joint_table
from saeattr.reporting.lines import part_lines
from saeattr.tables import (
    ANSWER_LENS,
    RECALL_ANSWERS,
    RECALL_CLAIMS,
    RECALL_CONCENTRATION,
    RECALL_CURVES,
    RECALL_JOINT,
    RECALL_ORDERS,
    RECALL_PHASES,
    RECALL_RELEASE,
    WINDOW_PATCHES,
)
from tests.recall.localisation.test_curves import battery, shares


@pytest.mark.parametrize(
    ("means", "begin", "end", "middle", "fewest", "largest"),
    [
        ([1.0, 0.1, 0.0, 0.0], 0, 0, 0.1 / 1.1, 1, 1 / 1.1),
        # Below zero is not counted.
        ([-0.5, 0.4, 0.4, 0.2], 1, 2, 1.8, 2, 0.4),
        # The two largest are not side by side.
        ([0.5, 0.1, 0.5], 0, 2, 1.0, 2, 0.5 / 1.1),
        # Of two runs of one length the fuller one.
        ([0.3, 0.3, 0.4, 0.0], 0, 2, 1.1, 3, 0.4),
    ],
)
def test_range_centre_and_concentration_by_hand(
    means: list[float], begin: int, end: int, middle: float, fewest: int, largest: float
) -> None:
    one = np.array([means])
    assert [float(edge[0]) for edge in layer_range(one)] == [begin, end]
    assert centre(one)[0] == pytest.approx(middle)
    assert fewest_layers(one)[0] == fewest
    assert largest_part(one)[0] == pytest.approx(largest)
    assert carried(one)[0] == pytest.approx(np.clip(means, 0, None).sum())


def test_many_draws_at_once_equal_a_loop_over_every_run_and_every_set_of_layers() -> None:
    means = np.random.default_rng(1).normal(0.1, 0.3, (200, 5))
    found = np.stack([*layer_range(means), fewest_layers(means)], axis=1)
    for row, numbers in zip(means, found, strict=True):
        positive = row.clip(min=0)
        whole = positive.sum()
        if whole == 0:
            assert np.isnan(numbers).all()
            continue
        runs = [(a, b) for a in range(5) for b in range(a, 5) if positive[a : b + 1].sum() >= 0.8 * whole - 1e-9]
        best = min(runs, key=lambda run: (run[1] - run[0], -positive[run[0] : run[1] + 1].sum()))
        sets = [
            size for size in range(1, 6) for some in itertools.combinations(positive, size) if sum(some) >= 0.8 * whole
        ]
        assert numbers.tolist() == [*best, sets[0]]


def test_where_nothing_is_carried_nothing_is_placed() -> None:
    none = np.array([[0.0, -0.1]])
    assert np.isnan([*layer_range(none), centre(none), fewest_layers(none), largest_part(none)]).all()
    assert late_part(np.array([[0.1, 0.2, -0.3, 0.2]]), 2)[0] == pytest.approx(0.4)


def test_draws_are_of_facts_with_replacement_and_always_the_same() -> None:
    weights = fact_weights(7)
    assert weights.shape == (1 + DRAWS, 7)
    assert (weights[0] == 1 / 7).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights * 7, np.rint(weights * 7), atol=1e-12)
    assert (weights == fact_weights(7)).all()
    values = np.random.default_rng(2).normal(5, 2, 400)
    low, high = draw_interval(fact_weights(400) @ values)
    # Of the mean of many values it is the normal interval.
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)


def planted(n_layers: int = 12, n_facts: int = 30) -> pd.DataFrame:
    """Read in 0 to 1, retrieved in 3, moved in 7 and written in 10 and 11, with noise from fact to fact."""
    draw, rows = np.random.default_rng(4), []
    where = {("resid_pre", "entity"): (0, 1), ("mlp_out", "entity"): (3,), ("attn_out", "final"): (7,)}
    where[("mlp_out", "final")] = (10, 11)
    for fact, (component, place), layer in itertools.product(range(n_facts), where, range(n_layers)):
        share = 0.5 * (layer in where[component, place]) + draw.normal(0, 0.01)
        own = {"category": "a", "pair_id": str(fact), "direction": "noising", "component": component, "place": place}
        numbers = {"effect": -8 * share, "normalised": share, "share": share, "clean": 5.0, "corrupted": -3.0}
        rows.append({**own, "layer": layer, "head": -1, **numbers})
    return RECALL_CURVES.frame(pd.DataFrame(rows))


def test_planted_phases_are_found_in_their_layers_and_order() -> None:
    found = phases(planted()).set_index("phase")
    assert found[["begin", "end"]].to_numpy().tolist() == [[0, 1], [3, 3], [7, 7], [10, 11]]
    # Noise is counted where it is positive: centres lie towards the middle by little.
    assert found["centre"].tolist() == pytest.approx([0.5, 3.0, 7.0, 10.5], abs=0.3)
    assert found["depth_end"].tolist() == pytest.approx([2 / 12, 4 / 12, 8 / 12, 1.0])
    assert ((found["centre_low"] <= found["centre"]) & (found["centre"] <= found["centre_high"])).all()
    assert (orders(planted())["probability"] == 1).all()
    spread = concentration(planted()).set_index(["component", "place"])["fewest"]
    assert (spread["mlp_out", "entity"], spread["mlp_out", "final"]) == (1, 2)


def release_of(layers: list[int]) -> pd.DataFrame:
    base = {column.name: "x" if column.type == "text" else 0 for column in RECALL_RELEASE.columns}
    own = {"direction": "noising", "place": "entity"}
    rows = [
        {**base, **own, "pair_id": str(nth), "release_layer": layer, "cross_layer": layer}
        for nth, layer in enumerate(layers)
    ]
    return RECALL_RELEASE.frame(pd.DataFrame(rows))


def verdicts(curves: pd.DataFrame, layers: list[int]) -> dict[str, str]:
    tables = PhaseTables(
        curves, release_of(layers), phases(curves), orders(curves), joint_table(WINDOW_PATCHES.empty())
    )
    return {claim.name: claim.verdict for claim in phase_claims(tables)}


def test_claims_hold_in_a_model_that_was_made_so_and_break_in_its_mirror_image() -> None:
    assert verdicts(planted(), [6] * 30) == {
        "read-early": "holds",
        "released-in-the-middle": "holds",
        "final-takes-over": "holds",
        "moved-late": "holds",
        "moved-after-retrieval": "holds",
        "written-after-moving": "holds",
        "last-layers-write": "holds",
    }
    mirrored = planted().assign(layer=lambda curves: 11 - curves["layer"])
    assert set(verdicts(mirrored, [-1] * 30).values()) == {"broken"}
    # Between both no count decides.
    assert verdicts(planted(), [6] * 15 + [-1] * 15)["released-in-the-middle"] == "undecided"


def test_a_phase_that_carries_next_to_nothing_decides_nothing() -> None:
    curves = planted()
    weak = curves["component"].eq("mlp_out") & curves["place"].eq("entity")
    found = verdicts(curves.assign(share=curves["share"].where(~weak, curves["share"] / 100)), [6] * 30)
    assert found["moved-after-retrieval"] == "undecided"


def test_without_localisation_there_are_no_phases() -> None:
    empty = RECALL_CURVES.empty()
    assert phases(empty).empty
    assert concentration(empty).empty
    assert orders(empty).empty


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("phases") / "study"
    return saeattr.run_recall(battery(), parts="localisation,phases", selection="C", out=out, device="cpu")


def test_in_the_bundled_model_the_entity_matters_early_the_final_position_late_and_the_curves_cross(
    found: Study,
) -> None:
    entity, final = (shares(found, "noising", "resid_pre", place).mean().to_numpy() for place in ("entity", "final"))
    assert centre(entity[None])[0] < centre(final[None])[0]
    assert entity[0] > final[0]
    assert final[-1] > entity[-1]
    rows = found.recall(RECALL_PHASES).query("direction == 'noising'").set_index("phase")
    assert rows.loc["read", "centre"] < rows.loc["written", "centre"]
    release = found.recall(RECALL_RELEASE).query("direction == 'noising' and place == 'entity'")
    assert (release["cross_layer"] >= 0).mean() > 0.5
    order = found.recall(RECALL_ORDERS).query("direction == 'noising' and earlier == 'moved' and later == 'written'")
    assert order["probability"].item() > 0.5


def test_single_layers_are_those_of_localisation_and_the_lens_ends_in_the_models_answer(found: Study) -> None:
    windows, curves = found.recall(WINDOW_PATCHES), found.recall(RECALL_CURVES)
    alone = windows[windows["first_layer"] == windows["last_layer"]]
    alone = alone.rename(columns={"group": "category", "first_layer": "layer"})
    both = alone.merge(curves, on=["category", "pair_id", "direction", "component", "place", "layer"])
    assert len(both) == len(alone) > 0
    np.testing.assert_allclose(both["effect_x"], both["effect_y"], atol=1e-4)
    triage = saeattr.triage(battery(), selection="C", device="cpu").selected
    last = found.recall(ANSWER_LENS).query(
        "place == 'final' and component == 'resid_post' and layer == 5 and run == 'clean'"
    )
    joined = last.rename(columns={"group": "category"}).merge(triage, on=["category", "pair_id"])
    assert len(joined) == len(battery())
    np.testing.assert_allclose(np.exp(joined["log_p_clean"]), joined["p_right_clean"], atol=1e-5)
    assert (joined["rank_clean_x"] == joined["rank_clean_y"]).all()


def test_every_table_claim_line_and_figure_is_there(found: Study) -> None:
    for table in (RECALL_PHASES, RECALL_CONCENTRATION, RECALL_ORDERS, RECALL_ANSWERS, RECALL_JOINT):
        assert len(found.recall(table)) > 0
    assert set(found.recall(ANSWER_LENS)["place"]) == {"entity-last", "behind", "final"}
    assert ANSWER_LENS.names == list(found.recall(ANSWER_LENS).columns)
    claims = found.recall(RECALL_CLAIMS).query("part == 'phases'")
    assert len(claims) == 9
    # Attention is all that can differ at the final position.
    whole = found.recall(RECALL_JOINT).query("component == 'attn_out' and place == 'final' and n_together == 6")
    np.testing.assert_allclose(whole["joint"], 1, atol=1e-4)
    lines = part_lines(found)["recall"]
    assert any(line.startswith("read (resid_pre at entity): layers 0") for line in lines)
    assert any(line.startswith("logit lens at the final position: P(answer) jumps in layer ") for line in lines)
    names = {path.stem for path in found.figures}
    assert {"recall-phases", "recall-lens", "recall-joint"} <= names


def test_phases_alone_read_the_lens_and_patch_windows(tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("phases") / "alone"
    alone = saeattr.run_recall(battery()[:2], parts="phases", selection="C", out=out, device="cpu", figures=True)
    assert alone.recall(RECALL_PHASES).empty
    assert len(alone.recall(RECALL_ANSWERS)) == 2
    assert {claim.split("-")[0] for claim in alone.recall(RECALL_CLAIMS)["name"]} == {"backed"}
    assert {path.stem for path in alone.figures} == {"recall-lens", "recall-joint"}
