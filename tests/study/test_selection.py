"""The stage that chooses sites: once for a study, within what memory leaves, at the decisions that are asked for."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import saeattr
from saeattr import UserError
from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.model.loading import LanguageModel
from saeattr.runs.question import Question
from saeattr.runs.task import Task
from saeattr.saes.loading import SaeFile
from saeattr.selection.limits import Limits
from saeattr.selection.measure import select_sites
from saeattr.settings import make_settings
from saeattr.sites import Site
from saeattr.study.folder import StudyFolder
from saeattr.study.prepare import prepare
from saeattr.study.selection import stored_reason, stored_selection, with_choice

SMALL = {"lists": 3, "figures": False, "device": "cpu"}


def test_layers_are_chosen_once_and_kept(tmp_path: Path) -> None:
    out = tmp_path / "s"
    found = saeattr.select("cities", out=out, max_sites=2, lists=3, device="cpu")
    chosen = {(file.site.kind, file.site.layer) for file in found.chosen}
    assert len(chosen) == 2
    assert found.lines[0].startswith("sites    2 of 18, chosen by the model alone: ")
    assert found.lines[1].endswith(": 16 beyond 2 sites (--max-sites)")
    # Another limit is another study; without any, or with the same, this one goes on.
    for other in ({"max_sites": 5}, {"vram": "8GiB"}):
        with pytest.raises(UserError, match="whose sites were chosen within --max-sites 2, and --") as refusal:
            saeattr.attribute("cities", out=out, **other, **SMALL)
        assert "\n" not in str(refusal.value)
    again = saeattr.select("cities", out=out, max_sites=2, lists=3, device="cpu")
    assert again.lines == found.lines
    study = saeattr.attribute(["cities", "animals"], out=out, validate_top=0, **SMALL)
    assert study.choice == saeattr.load_study(out).choice == found.lines
    assert set(study.record["saes"]) == {str(file.site) for file in found.chosen}
    features = study.features()
    assert set(zip(features["kind"], features["layer"], strict=True)) == chosen
    with pytest.raises(UserError, match="leave out --layers and --sites"):
        saeattr.select("cities", out=tmp_path / "t", layers=[1], lists=3, device="cpu")
    assert not (tmp_path / "t").exists()


def test_the_chosen_saes_fit_what_the_budget_leaves_beside_model_and_runs(
    tmp_path: Path, lm: LanguageModel, saes: dict[Site, SaeFile]
) -> None:
    pairs = make_pairs(lm.tokenizer, sample_lists(lm, "cities", Sampling(3)))[0]
    length = max(len(pair.clean_ids) for pair in pairs)
    settings = {"lists": len(pairs), "kinds": ["resid_post"], "device": "cpu"}
    needed = saeattr.plan(length=length, **settings)
    one = saes[Site("resid_post", 0)].n_bytes
    # Two SAEs are in memory while they are streamed; the budget leaves room for four.
    assert needed.sae == 2 * one
    budget = needed.peak + 2 * one + one // 2
    found = saeattr.select("cities", out=tmp_path / "s", vram=str(budget), **settings)
    assert len(found.chosen) == 4
    study = saeattr.attribute("cities", out=tmp_path / "t", vram=str(budget), validate_top=0, figures=False, **settings)
    chosen = {(file.site.kind, file.site.layer) for file in found.chosen}
    assert set(zip(study.features()["kind"], study.features()["layer"], strict=True)) == chosen


def test_layers_are_scored_at_the_decisions_and_sites_that_are_asked_for(
    tmp_path: Path, lm: LanguageModel, saes: dict[Site, SaeFile]
) -> None:
    settings = {"lists": 2, "seed": 3, "decision": "all", "kinds": ["attn_z"], "max_sites": 2, "device": "cpu"}
    found = saeattr.select("cities", out=tmp_path / "s", **settings)
    pairs = make_pairs(lm.tokenizer, sample_lists(lm, "cities", Sampling(2, seed=3)))[0]
    files = [file for site, file in saes.items() if site.kind == "attn_z"]
    direct, other = (
        select_sites(Task(lm, pairs, files, Question(decision=decision)), Limits(most=2))
        for decision in ("all", "last")
    )
    pd.testing.assert_frame_equal(found.table, direct.table)
    assert not found.table["score"].equals(other.table["score"])
    assert found.table["chosen"].sum() == 2


def test_the_choice_comes_back_from_its_folder_with_its_reason(tmp_path: Path, saes: dict[Site, SaeFile]) -> None:
    found = saeattr.select("cities", out=tmp_path, max_sites=2, lists=2, kinds=["mlp_out"], device="cpu")
    offer = [file for site, file in saes.items() if site.kind == "mlp_out"]
    stored = stored_selection(StudyFolder(tmp_path), offer)
    assert stored is not None
    assert stored.reason == stored_reason(StudyFolder(tmp_path)) == found.reason
    assert [file.site for file in stored.chosen] == [file.site for file in found.chosen]
    for name in ("table", "lens", "ablation"):
        pd.testing.assert_frame_equal(getattr(stored, name), getattr(found, name))
    prepared = prepare(make_settings({"kinds": ["mlp_out"], "lists": 2, "device": "cpu"}))
    assert with_choice(prepared, StudyFolder(tmp_path)).saes == stored.chosen


def test_where_nothing_was_chosen_every_site_stays(tmp_path: Path) -> None:
    prepared = prepare(make_settings({"kinds": ["mlp_out"], "device": "cpu"}))
    assert stored_selection(StudyFolder(tmp_path), prepared.saes) is None
    assert stored_reason(StudyFolder(tmp_path)) is None
    assert with_choice(prepared, StudyFolder(tmp_path)) == prepared


def test_facts_choose_their_sites_too(tmp_path: Path) -> None:
    settings = {"behaviour": "facts", "kinds": ["attn_z"], "max_sites": 1, "device": "cpu"}
    found = saeattr.select("capitals", out=tmp_path, **settings)
    assert len(found.chosen) == 1
    assert "entity" in set(found.ablation["role"])
