"""Localisation: release by hand, curves against the patching table and a naive hooked run, the bundled model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import saeattr
from saeattr import Study, UserError
from saeattr.files import read_table
from saeattr.model.loading import LanguageModel
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.localisation.curves import (
    NEVER,
    STREAM,
    crossing_layer,
    damage_correlations,
    mean_curves,
    recall_curves,
    release_layer,
    releases,
    worst_counts,
)
from saeattr.tables import RECALL_CURVES, RECALL_PATCHES, RECALL_RELEASE, RECALL_WORST


def battery() -> list[dict[str, str]]:
    """The first phrasing of some facts, with the longest entity among them."""
    rows = [row for row in named_battery("facts").rows if row.pair_id.endswith(" 1")]
    longest = max(rows, key=lambda row: len(row.entity.split()))
    chosen = [longest, *[row for row in rows if row.category == "capitals"][:2], *rows[60:240:60]]
    return [row.as_cells() for row in chosen]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("recall") / "study"
    return saeattr.patch_recall(battery(), selection="C", out=out, device="cpu")


def shares(found: Study, direction: str, component: str, place: str) -> pd.DataFrame:
    """Facts by layers."""
    own = found.recall(RECALL_CURVES)[
        (found.recall(RECALL_CURVES)["direction"] == direction)
        & (found.recall(RECALL_CURVES)["component"] == component)
        & (found.recall(RECALL_CURVES)["place"] == place)
    ]
    return own.pivot_table(index=["category", "pair_id"], columns="layer", values="share")


@pytest.mark.parametrize(
    ("curve", "under", "layer"),
    [
        ([1.0, 0.9, 0.5, 0.1, 0.0], 0.2, 3),
        # It comes back once, so it is not released before.
        ([1.0, 0.1, 0.5, 0.1, 0.0], 0.2, 3),
        # Its maximum is 0.5, and 0.1 is not under a fifth of it.
        ([0.5, 0.3, 0.1, 0.05], 0.2, 3),
        ([0.5, 0.3, 0.1, 0.05], 0.5, 2),
        ([0.2, 1.0, 0.1], 0.2, 2),
        ([1.0, 0.8, 0.6], 0.2, NEVER),
        ([1.0, -0.4, -0.1], 0.2, 1),
    ],
)
def test_the_layer_of_release_is_where_a_curve_stays_under_its_share(
    curve: list[float], under: float, layer: int
) -> None:
    assert release_layer(curve, under) == layer


def test_curves_cross_where_one_stays_above_the_other() -> None:
    assert crossing_layer([1.0, 0.4, 0.2, 0.0], [0.0, 0.5, 0.1, 0.9]) == 3
    assert crossing_layer([1.0, 0.6, 0.6], [0.0, 0.5, 0.6]) == NEVER


def patches(place: str, position: int, layer: int, effect: float, direction: str) -> dict[str, object]:
    own = {"category": "capitals", "pair_id": "France 1", "component": "resid_pre", "direction": direction}
    where = {"layer": layer, "head": -1, "place": place, "position": position}
    return {**own, **where, "effect": effect, "clean": 3.0, "corrupted": -1.0}


def test_shares_and_normalised_effects_in_both_directions_and_the_last_token_of_an_entity_by_hand() -> None:
    table = pd.DataFrame(
        [
            patches("entity", -1, 0, -4.0, "noising"),
            patches("decision", -1, 0, 0.4, "noising"),
            patches("entity", 4, 0, -1.0, "noising"),
            patches("entity", 5, 0, -3.0, "noising"),
            patches("entity", -1, 0, 3.0, "denoising"),
            patches("after", -1, 0, 9.0, "noising"),
        ]
    )
    rows = recall_curves(table).set_index(["direction", "place"])
    assert rows.loc[("noising", "entity"), ["share", "normalised"]].tolist() == [1.0, 1.0]
    assert rows.loc[("noising", "final"), ["share", "normalised"]].tolist() == pytest.approx([-0.1, -0.1])
    assert dict(rows["effect"])["noising", "entity-last"] == -3.0
    # Clean activations move the corrupted run from -1 to 2: three quarters of the way back to 3.
    assert rows.loc[("denoising", "entity"), ["share", "normalised"]].tolist() == [0.75, 0.25]
    assert len(rows) == 4
    assert releases(recall_curves(table)).query("place == 'entity-last'")["max_damage"].tolist() == [3.0]


def test_nothing_patched_gives_empty_tables() -> None:
    empty = recall_curves(pd.DataFrame([patches("after", -1, 0, 1.0, "noising")]))
    assert empty.empty
    assert releases(empty).empty
    assert worst_counts(empty).empty


def test_curves_are_the_numbers_of_the_studys_table_of_patches(found: Study) -> None:
    patched = saeattr.load_study(found.folder.root).recall(RECALL_PATCHES)
    for component, ours, theirs in (
        ("mlp_out", "final", "decision"),
        ("resid_pre", "entity", "entity"),
        ("z", "final", "decision"),
    ):
        together = patched["position"] == -1
        whole = patched[together & (patched["component"] == component) & (patched["place"] == theirs)]
        own = found.recall(RECALL_CURVES)[
            (found.recall(RECALL_CURVES)["component"] == component) & (found.recall(RECALL_CURVES)["place"] == ours)
        ]
        key = ["category", "pair_id", "direction", "layer", "head"]
        both = own.merge(whole, on=key, suffixes=("", "_there"))
        assert len(both) == len(own) == len(whole) > 0
        assert (both["effect"] == both["effect_there"]).all()


def put(x: torch.Tensor, hook: object, donor: torch.Tensor, at: list[int]) -> torch.Tensor:
    """The stream with another run's at some positions."""
    x = x.clone()
    x[:, at] = donor[:, at]
    return x


def test_curves_equal_a_naive_hooked_run(found: Study, lm: LanguageModel) -> None:
    facts = saeattr.triage(battery(), selection="C", device="cpu").selected
    longest = facts.sort_values("entity_last", key=lambda last: last - facts["entity_first"]).iloc[-1]
    bos = lm.tokenizer.bos_token_id
    ids = [
        torch.tensor([[bos, *lm.tokenizer.encode(longest[name], add_special_tokens=False)]])
        for name in ("clean_prompt", "corrupt_prompt")
    ]
    right, other = (
        lm.tokenizer.encode(longest[name], add_special_tokens=False)[0] for name in ("clean_target", "corrupt_target")
    )
    places = {
        "entity": range(longest["entity_first"], longest["entity_last"] + 1),
        "entity-last": [longest["entity_last"]],
        "final": [longest["n_tokens"] - 1],
    }
    layer, name = 1, "blocks.1.hook_resid_pre"
    with torch.no_grad():
        kept: dict[str, torch.Tensor] = {}
        lm.bridge.run_with_hooks(ids[1], fwd_hooks=[(name, lambda x, hook: kept.update(x=x.clone()))])
        before = lm.bridge(ids[0])[0, -1]
        for place, positions in places.items():
            hooks: list[Any] = [(name, partial(put, donor=kept["x"], at=list(positions)))]
            after = lm.bridge.run_with_hooks(ids[0], fwd_hooks=hooks)[0, -1]
            change = float((after - before)[right] - (after - before)[other])
            own = found.recall(RECALL_CURVES)[
                (found.recall(RECALL_CURVES)[["category", "pair_id"]] == [longest["category"], longest["pair_id"]]).all(
                    axis=1
                )
                & (
                    found.recall(RECALL_CURVES)[["direction", "component", "place"]] == ["noising", "resid_pre", place]
                ).all(axis=1)
                & (found.recall(RECALL_CURVES)["layer"] == layer)
            ]
            assert float(own["effect"].iloc[0]) == pytest.approx(change, abs=1e-3)


@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_on_the_bundled_model_facts_leave_the_entity_before_the_last_layer_and_the_curves_cross(
    found: Study, direction: str
) -> None:
    entity, final = (shares(found, direction, "resid_pre", place) for place in ("entity", "final"))
    last = int(found.recall(RECALL_CURVES)["layer"].max() + 1) - 1
    # At layer 0 the entity is all that differs; at the end all that is read is the final position.
    np.testing.assert_allclose(entity[0], 1.0, atol=1e-4)
    assert (entity[0] > final[0]).all()
    assert (final[last] > entity[last]).all()
    assert (final[last] > 0.8).all()
    rows = found.recall(RECALL_RELEASE).query("direction == @direction and place == 'entity'")
    assert rows["release_layer"].between(1, last).all()
    assert rows["cross_layer"].between(1, last).all()


def test_tables_are_written_and_every_fact_is_in_them(found: Study) -> None:
    for table in (RECALL_CURVES, RECALL_RELEASE, RECALL_WORST):
        rows, folder = found.recall(table), found.folder.root / "recall"
        pd.testing.assert_frame_equal(read_table(folder / f"{table.name}.parquet", table), rows)
        assert len(pd.read_csv(folder / f"{table.name}.csv")) == len(rows)
    n_facts = len(battery())
    assert (found.recall(RECALL_WORST).groupby(["direction", "component", "place"])["n_facts"].sum() == n_facts).all()
    assert set(found.recall(RECALL_CURVES)["component"]) == {*STREAM, "z"}
    assert [path.stem for path in found.figures if path.stem.startswith("recall")] == [
        "recall-components",
        "recall-curves",
        "recall-damage",
        "recall-heads",
        "recall-restored",
        "recall-spread",
        "recall-tokens",
        "recall-top",
        "recall-worst",
    ]


def test_means_and_correlations_over_facts(found: Study) -> None:
    means = mean_curves(found.recall(RECALL_CURVES))
    entity = shares(found, "noising", "resid_pre", "entity")
    own = means.query("direction == 'noising' and component == 'resid_pre' and place == 'entity'")
    np.testing.assert_allclose(own["share"], entity.mean(), rtol=1e-12)
    np.testing.assert_allclose(own["share_sd"], entity.std(), rtol=1e-9)
    rows = found.recall(RECALL_RELEASE).query("direction == 'noising' and place == 'entity'")
    row = damage_correlations(found.recall(RECALL_CURVES)).set_index(["direction", "component", "place"])
    wanted = np.corrcoef(rows["max_damage"], rows["ld_clean"])[0, 1]
    assert row.loc[("noising", "resid_pre", "entity"), "pearson"] == pytest.approx(wanted)


def test_a_triages_folder_is_patched_in_the_model_that_it_was_made_with(tmp_path: Path) -> None:
    one = battery()[:1]
    saeattr.triage(one, out=tmp_path / "t", figures=False, device="cpu")
    found = saeattr.patch_recall(tmp_path / "t", out=tmp_path / "s", figures=True, device="cpu", under=0.5)
    assert found.record["model"]["name"] == "bundled"
    assert found.recall(RECALL_RELEASE)["under"].unique().tolist() == [0.5]
    # One fact alone has no interval and no correlation.
    assert mean_curves(found.recall(RECALL_CURVES))["share_low"].isna().all()
    assert damage_correlations(found.recall(RECALL_CURVES))["pearson"].isna().all()


def test_what_cannot_be_patched_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no triage: make one with"):
        saeattr.patch_recall(tmp_path)
    with pytest.raises(UserError, match="--under cannot be 1.5"):
        saeattr.patch_recall(battery(), under=1.5)
    with pytest.raises(UserError, match="'curves' is not a part of recall: choose from localisation"):
        saeattr.run_recall(battery(), parts="localisation, curves")
    with pytest.raises(UserError, match="'pairs' is not a setting of recall"):
        saeattr.patch_recall(battery(), pairs="mine.jsonl")
    swapped = {**battery()[0]}
    swapped["clean_target"], swapped["corrupt_target"] = swapped["corrupt_target"], swapped["clean_target"]
    with pytest.raises(UserError, match="there is no fact to patch"):
        saeattr.patch_recall([swapped], device="cpu")
