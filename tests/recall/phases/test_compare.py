"""Two recall studies by depth: by hand, against itself, in other facts, and the bundled model beside its tuned copy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import saeattr
from saeattr import Study, UserError
from saeattr.files import read_table
from saeattr.recall.localisation.curves import FACT, releases
from saeattr.recall.phases.compare import GRID, RecallRun, at_depths, compare_runs
from saeattr.reporting.terminal.console import study_console
from saeattr.reporting.terminal.recall_compare import print_recall_comparison
from saeattr.tables import (
    RECALL_ANSWERS,
    RECALL_COMPARED,
    RECALL_COMPARED_CURVES,
    RECALL_CURVES,
    RECALL_RELEASE,
    WINDOW_PATCHES,
)
from tests.comparison.tuned import tuned_model
from tests.recall.localisation.test_curves import battery
from tests.recall.phases.test_phases import planted


def run_of(n_layers: int, released: int, n_facts: int = 20, name: str = "a", first: int = 0) -> RecallRun:
    """A study whose facts leave their entity before one layer, with noise, and are moved by the layer before it."""
    draw, rows = np.random.default_rng(n_layers), []
    for fact in range(first, first + n_facts):
        for component, place in (
            ("resid_pre", "entity"),
            ("resid_pre", "final"),
            ("resid_post", "entity"),
            ("resid_post", "final"),
        ):
            for layer in range(n_layers):
                passed = layer + (component == "resid_post")
                there = float(passed < released) if place == "entity" else float(passed >= released)
                share = there + draw.normal(0, 0.01)
                own = {"category": "c", "pair_id": str(fact), "direction": "noising", "component": component}
                numbers = {"effect": -share, "normalised": share, "share": share, "clean": 1.0, "corrupted": 0.0}
                rows.append({**own, "place": place, "layer": layer, "head": -1, **numbers})
    curves = RECALL_CURVES.frame(pd.DataFrame(rows))
    answers = [
        {
            "category": "c",
            "pair_id": str(fact),
            "n_layers": n_layers,
            "p_final": 1.0,
            "jump_layer": released,
            "jump": 0.5,
        }
        | {"half_layer": released, "top_layer": released, "outranks_layer": 0}
        for fact in range(first, first + n_facts)
    ]
    return RecallRun(
        name, curves, releases(curves), RECALL_ANSWERS.frame(pd.DataFrame(answers)), WINDOW_PATCHES.empty()
    )


def test_depth_makes_models_of_other_sizes_alike() -> None:
    """Released before layer 3 of 6 and before layer 6 of 12: the same half of the depth."""
    found = compare_runs(run_of(6, 3), run_of(12, 6, name="b"))
    rows = found.rows.set_index(["measure", "of"])
    assert rows.loc[("release depth", "resid_pre"), ["a", "b", "difference"]].tolist() == pytest.approx([0.5, 0.5, 0.0])
    assert rows.loc[("crossing depth", "resid_pre"), ["a", "b"]].tolist() == pytest.approx([0.5, 0.5])
    # Behind layer 3 of 6 (index from 0), and behind layer 6 of 12.
    assert rows.loc[("jump depth", "P(answer)"), ["a", "b"]].tolist() == pytest.approx([4 / 6, 7 / 12])
    assert (found.n_layers, rows["n_shared"].unique().tolist()) == ((6, 12), [20])
    ends = found.curves[found.curves["depth"].isin([0.0, 1.0])]
    assert ends["difference"].abs().max() < 0.05


def test_a_study_against_itself_differs_by_nothing_because_its_facts_are_drawn_together() -> None:
    one = run_of(6, 2)
    found = compare_runs(one, dataclasses.replace(one, name="b"))
    assert (found.rows[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    assert (found.curves[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    inner = found.curves[found.curves["depth"] == GRID[5]]
    assert (inner["share_a_high"] > inner["share_a_low"]).all()


def test_other_facts_are_drawn_on_their_own() -> None:
    found = compare_runs(run_of(6, 2), run_of(6, 2, name="b", first=100))
    assert found.rows["n_shared"].unique().tolist() == [0]
    inner = found.curves[found.curves["depth"] == GRID[5]]
    assert (inner["difference_high"] > inner["difference_low"]).all()
    some = compare_runs(run_of(6, 2), run_of(6, 4, name="b", first=15, n_facts=8))
    assert some.rows[["n_a", "n_b", "n_shared"]].iloc[0].tolist() == [20, 8, 5]
    row = some.rows.iloc[0]
    assert (row["measure"], row["difference"]) == ("release depth", pytest.approx(1 / 3))
    assert row["difference_low"] > 0


def test_curves_are_straight_lines_between_layers() -> None:
    curves = run_of(5, 2).curves
    found = at_depths(curves, "noising", "entity")
    assert found.shape == (20, len(GRID))
    by_layer = curves.query("component == 'resid_pre' and place == 'entity'").pivot_table(
        index=FACT, columns="layer", values="share"
    )
    np.testing.assert_allclose(found[GRID[4]], by_layer[1])
    np.testing.assert_allclose(found[GRID[6]], (by_layer[1] + by_layer[2]) / 2)
    behind = curves.query("component == 'resid_post' and place == 'entity' and layer == 4").set_index(FACT)["share"]
    np.testing.assert_allclose(found[1.0].sort_index(), behind.sort_index())


def test_what_carries_next_to_nothing_is_not_placed() -> None:
    one = run_of(12, 3, n_facts=30)
    own = planted()
    weak = own.assign(category="c", share=own["share"].where(own["component"] != "attn_out", own["share"] / 100))
    runs = [dataclasses.replace(one, curves=RECALL_CURVES.frame(pd.concat([one.curves, part]))) for part in (own, weak)]
    runs[0] = dataclasses.replace(runs[0], curves=runs[0].curves.assign(category="c"))
    rows = compare_runs(runs[0], runs[1]).rows.set_index(["measure", "of"])
    assert ("carried", "moved") in rows.index
    assert ("centre", "moved") not in rows.index
    assert ("centre", "written") in rows.index


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Study]:
    """Of the bundled model and of a copy tuned in one layer; the second was asked one fact less."""
    out = tmp_path_factory.mktemp("compared")
    facts = battery()[:4]
    small = {"parts": "localisation,phases", "selection": "C", "device": "cpu", "figures": False}
    base = saeattr.run_recall(facts, out=out / "base", **small)
    return base, saeattr.run_recall(facts[:3], model=str(tuned_model()), out=out / "tuned", **small)


def test_a_model_beside_its_tuned_copy_is_written_drawn_and_printed(
    studies: tuple[Study, Study], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tuned = studies
    found = saeattr.compare_recall(base.folder.root, tuned, out=tmp_path / "c")
    folder = tmp_path / "c"
    for table, rows in ((RECALL_COMPARED, found.rows), (RECALL_COMPARED_CURVES, found.curves)):
        pd.testing.assert_frame_equal(read_table(folder / f"{table.name}.parquet", table), rows)
        assert len(pd.read_csv(folder / f"{table.name}.csv")) == len(rows)
    assert (folder / "recall-compare.png").exists()
    counts = found.rows[["n_a", "n_b", "n_shared"]].drop_duplicates()
    assert counts.to_numpy().tolist() == [[4, 3, 3]]
    own = base.recall(RECALL_RELEASE).query("direction == 'noising' and place == 'entity'")
    row = found.rows.iloc[0]
    assert row["a"] == pytest.approx((own["release_layer"] / 6).mean())
    joint = found.rows.query("measure == 'joint / summed' and of == 'attn_out at final'")
    assert len(joint) == 1
    monkeypatch.setenv("COLUMNS", "180")
    print_recall_comparison(found, study_console())
    printed = capsys.readouterr().out
    assert "6 layers, 4 facts" in printed
    assert "3 facts are in both, and are drawn together" in printed
    assert "release depth (depth)" in printed


def test_what_cannot_be_compared_is_one_line(studies: tuple[Study, Study], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a study folder"):
        saeattr.compare_recall(tmp_path, studies[0])
    (tmp_path / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="exists and holds no comparison of recall"):
        saeattr.compare_recall(*studies, out=tmp_path)
    empty = dataclasses.replace(run_of(6, 2), curves=RECALL_CURVES.empty())
    with pytest.raises(UserError, match="a has no curves of facts: run saeattr recall run"):
        compare_runs(empty, run_of(6, 2))
