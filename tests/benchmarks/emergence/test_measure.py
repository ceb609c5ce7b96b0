"""What is measured of checkpoints: shares against the recall study's own curves, and what the page reads off them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import saeattr
from saeattr.model.loading import LanguageModel
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.facts.check import align_facts
from saeattr.runs.task import Task

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
from benchmarks.emergence.measure import first_facts, patched, shares
from benchmarks.emergence.read import leading_since
from bundled.train_model import Checkpoints


def test_a_share_is_the_mean_effect_over_the_mean_swing_of_the_recall_study(lm: LanguageModel, tmp_path: Path) -> None:
    facts, _ = align_facts(lm.tokenizer, named_battery("facts").rows)
    some = first_facts(facts, 1)[:4]
    assert len({fact.row.category for fact in some}) == 4
    found = pd.DataFrame(shares(patched(Task(lm, [fact.pair for fact in some]))))
    rows = [fact.row.as_cells() for fact in some]
    study = saeattr.patch_recall(rows, selection="C", out=tmp_path / "s", figures=False, device="cpu")
    curves = study.recall("recall_curves").query("direction == 'noising'")
    for own in found.to_dict("records"):
        place = (curves["component"] == own["what"]) & (curves["place"] == own["place"])
        theirs = curves[place & (curves["layer"] == own["layer"]) & (curves["head"] == own["head"])]
        assert len(theirs) == own["n"] == 4
        swing = (theirs["clean"] - theirs["corrupted"]).mean()
        assert own["value"] == pytest.approx(-theirs["effect"].mean() / swing, abs=1e-5)


def test_there_is_no_share_of_a_swing_that_may_be_nothing() -> None:
    where = {"what": "resid_pre", "place": "entity", "layer": 0, "head": -1}
    effects = pd.DataFrame([{**where, "effect": -1.0, "gap": gap} for gap in (1.0, -1.2, 0.9)])
    assert shares(effects) == []
    (one,) = shares(effects.assign(gap=[2.0, 2.1, 1.9]))
    assert one["value"] == pytest.approx(0.5)


def test_a_head_leads_from_where_no_other_is_larger_any_more() -> None:
    table = pd.DataFrame({"0.0": [0.3, 0.1, 0.4, 0.1], "0.1": [0.2, 0.5, 0.3, 0.6]}, index=[25, 50, 100, 200])
    assert leading_since(table) == 200
    assert leading_since(table.iloc[:2]) == 50
    assert leading_since(table[["0.1"]]) == 25


class Saved:
    """Stands for a model or a tokenizer."""

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)


def test_checkpoints_are_saved_after_the_steps_named_and_without_any_none_is(tmp_path: Path) -> None:
    one: Any = Saved()
    for step in range(4):
        Checkpoints((0, 2), tmp_path).save(step, one, one)
        Checkpoints(folder=tmp_path).save(step, one, one)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0", "step-2"]
