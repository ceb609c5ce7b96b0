"""Exact effects in two models against hooks on the plain models; what A's activations undo in B; verdicts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import Gemma2ForCausalLM

import saeattr
from saeattr import UserError, bundle
from saeattr.behaviours.pair import Pair
from saeattr.behaviours.table import pairs_from_rows
from saeattr.comparison import exact as measuring
from saeattr.comparison import run as comparison
from saeattr.comparison.judged import change_tests, judge_changes
from saeattr.comparison.results import Comparison
from saeattr.runs import task
from saeattr.saes.loading import find_saes, load_sae
from saeattr.sites import Site
from saeattr.tables import CHANGE_EXACT, FEATURE, row_site, sites_of
from tests.comparison.tuned import CONTROLS, LAYER, compared, studies, tuned_model
from tests.plain import at_point, edited, read
from tests.runs.short_of_memory import no_more_than


@functools.cache
def plain(tuned: bool) -> Any:
    folder = tuned_model() if tuned else bundle.MODEL_FOLDER
    return Gemma2ForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def move(model: Any, site: Site, feature: int, pair: Pair) -> torch.Tensor:
    """f in the corrupted run minus f in the clean run, [pos]."""
    sae = load_sae(find_saes("bundled")[site])
    both = (pair.clean_ids, pair.corrupted_ids or ())
    clean, corrupted = (sae.encode(read(model, site, ids))[:, feature] for ids in both)
    return (corrupted - clean).detach()


def effect(model: Any, site: Site, along: int, length: torch.Tensor, pair: Pair) -> float:
    """How the metric changes when x moves by ``length`` along a decoder direction, a number for each position."""
    direction = load_sae(find_saes("bundled")[site]).W_dec[along]
    direction = direction / direction.norm()
    # Behind the last decision point, and at BOS, nothing is patched.
    length = length.clone()
    length[pair.points[-1].position + 1 :] = 0
    length[0] = 0
    with torch.no_grad():
        before = at_point(model, pair.clean_ids, pair.points[-1])
        with edited(model, site, lambda x: x + length[:, None] * direction):
            return float(at_point(model, pair.clean_ids, pair.points[-1]) - before)


@pytest.mark.parametrize("nth", [0, 3])
def test_exact_effects_are_those_of_moving_x_in_the_plain_models(nth: int) -> None:
    row = compared().tests.iloc[nth].to_dict()
    site, feature = row_site(row), int(row["feature"])
    own = compared().exact
    own = own[(own[FEATURE] == [row[key] for key in FEATURE]).all(axis=1)]
    pair = pairs_from_rows(studies()[0].test_pairs("cities"))[0]
    control = int(own.loc[own["along"] != feature, "along"].iloc[0])
    size = float(load_sae(find_saes("bundled")[site]).W_dec[feature].norm())
    moves = [size * move(plain(tuned), site, feature, pair) for tuned in (False, True)]
    for along in (feature, control):
        (found,) = own[(own["along"] == along) & (own["pair_id"] == pair.pair_id)].to_dict("records")
        assert found["exact_a"] == pytest.approx(effect(plain(False), site, along, moves[0], pair), abs=2e-3)
        assert found["exact_b"] == pytest.approx(effect(plain(True), site, along, moves[1], pair), abs=2e-3)
        assert found["exact_moved"] == pytest.approx(effect(plain(True), site, along, moves[0], pair), abs=2e-3)


def test_pairs_that_test_are_not_those_that_ranked() -> None:
    base = studies()[0]
    assert set(compared().exact["pair_id"]) == set(base.test_pairs()["pair_id"])
    tested, ranked = ({tuple(ids) for ids in table["clean_ids"]} for table in (base.test_pairs(), base.pairs()))
    assert not tested & ranked


def test_the_tested_features_are_the_most_changed_ones() -> None:
    first = compared().changes.head(12)
    assert compared().tests[FEATURE].to_numpy().tolist() == first[FEATURE].to_numpy().tolist()
    np.testing.assert_allclose(compared().tests["estimate_mean"], first["change_mean"])
    assert (compared().tests["n_controls"] == CONTROLS).all()


def test_exact_parts_are_zero_below_the_tuned_layer_for_features_and_for_controls() -> None:
    tests = compared().tests
    below = np.array([site < Site("attn_z", LAYER) for site in sites_of(tests)])
    assert below.any()
    assert (tests.loc[below, ["activation_part", "control_activation"]] == 0).all(axis=None)
    assert (tests.loc[~below, ["activation_part", "control_activation"]] != 0).all(axis=None)
    # What is below the layer changes through the path above alone.
    np.testing.assert_allclose(tests.loc[below, "path_part"], tests.loc[below, "change_median"])


def test_the_activation_of_the_first_model_undoes_the_change_from_the_tuned_layer_on() -> None:
    """Of the residual stream: nothing below the layer, and all of it from the layer's end on."""
    sites = compared().sites
    undone = dict(zip(map(str, sites_of(sites)), sites["taken_back"], strict=True))
    for site in ("mlp_out.1", "resid_post.2"):
        assert undone[site] == pytest.approx(0.0, abs=1e-4)
    for site in ("resid_post.3", "resid_post.4"):
        assert undone[site] == pytest.approx(1.0, abs=1e-3)
    # The layer's own two writes share it.
    assert 0.02 < undone["attn_z.3"] < 0.98
    assert 0.02 < undone["mlp_out.3"] < 0.98
    assert abs(undone["mlp_out.4"]) < 0.2


def made(own: float, others: float, n_pairs: int = 10, n_controls: int = 39) -> pd.DataFrame:
    """Exact effects of one feature: its change and that of its controls."""
    rows = []
    for along in range(n_controls + 1):
        for pair in range(n_pairs):
            change = (own if along == 0 else others) * (1 + 0.01 * pair)
            values = {"exact_a": 1.0, "exact_b": 1.0 + change, "exact_moved": 1.0 + change / 4}
            place = {"group": "g", "layer": 2, "kind": "mlp_out", "feature": 0, "along": along, "pair_id": f"p{pair}"}
            rows.append({**place, **values})
    return CHANGE_EXACT.frame(pd.DataFrame(rows))


@pytest.mark.parametrize(
    ("own", "others", "changes", "verdict"),
    [
        (0.5, 0.1, {}, "changed"),
        (-0.5, 0.1, {}, "changed"),
        (0.5, 0.6, {}, "within controls"),
        (0.005, 0.001, {}, "small"),
        (0.0, 0.0, {}, "not shown"),
        (0.5, 0.1, {"n_pairs": 5}, "too few pairs"),
        (0.5, 0.1, {"n_controls": 9}, "too few controls"),
    ],
)
def test_a_change_that_every_direction_shares_is_within_controls(
    own: float, others: float, changes: dict[str, int], verdict: str
) -> None:
    exact = made(own, others, **changes)
    ranked = {(2, "mlp_out", 0): 0.3}
    (row,) = change_tests(exact, ranked, dict.fromkeys(exact["pair_id"], -4.0), 0.01).to_dict("records")
    assert row["verdict"] == verdict
    assert row["change_median"] == pytest.approx(own * np.median(1 + 0.01 * np.arange(row["n_pairs"])))
    assert row["activation_part"] == pytest.approx(0.75 * row["change_median"])
    assert row["path_part"] == pytest.approx(0.25 * row["change_median"])


def test_q_values_of_several_groups_are_taken_together() -> None:
    exact = made(0.5, 0.1, n_pairs=6)
    table = change_tests(exact, {(2, "mlp_out", 0): 0.3}, dict.fromkeys(exact["pair_id"], -4.0), 0.01)
    assert table["verdict"].tolist() == ["changed"]
    many = pd.concat([table, table.assign(group="h", p_value=1.0)])
    assert judge_changes(many)["verdict"].tolist() == ["not shown", "not shown"]


LIMITS: dict[str, tuple[Any, str, Callable[..., int]]] = {
    "runs": (task, "run_batch", lambda lm, pairs, *_, **__: len(pairs)),
    "copies": (measuring, "along_effects", lambda batch, sae, feature, change, along, copies: copies),
    "whole sites": (measuring, "total_effect", lambda batch, site, x, rows: len(rows)),
}


def again(out: Path) -> Comparison:
    """The comparison of ``compared`` with fewer features."""
    return saeattr.compare(*studies(), out=out, exact=4, controls=CONTROLS, device="cpu", figures=False)


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return again(tmp_path_factory.mktemp("unlimited") / "c")


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("only_b", [False, True])
def test_where_memory_runs_out_in_one_model_or_both_the_comparison_is_the_same(
    unlimited: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, only_b: bool
) -> None:
    module, name, rows = LIMITS[limit]
    seen: list[int] = []
    work, opened = getattr(module, name), []
    short = no_more_than(2, work, rows, seen)
    known = comparison.study_task
    monkeypatch.setattr(comparison, "study_task", lambda *args: opened.append(args) or known(*args))
    monkeypatch.setattr(module, name, lambda *args, **kw: (work if only_b and len(opened) < 2 else short)(*args, **kw))
    found = again(tmp_path / "c")
    assert max(seen) > 2
    # Each model is opened once all the same.
    assert len(opened) == 2
    pd.testing.assert_frame_equal(found.exact, unlimited.exact, atol=1e-4)
    pd.testing.assert_frame_equal(found.sites, unlimited.sites, atol=1e-4)
    assert found.tests["verdict"].tolist() == unlimited.tests["verdict"].tolist()


@pytest.mark.parametrize("limit", LIMITS)
def test_where_one_at_a_time_does_not_fit_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    module, name, rows = LIMITS[limit]
    monkeypatch.setattr(module, name, no_more_than(0, getattr(module, name), rows, []))
    with pytest.raises(UserError, match="^cpu has too little memory for one .* at a time: leave out --exact") as end:
        again(tmp_path / "c")
    assert "\n" not in str(end.value)
    assert not (tmp_path / "c").exists()
