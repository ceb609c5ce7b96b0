"""The stages of a study together: choosing layers, validating later, generating, and not doing anything twice."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import saeattr
from saeattr import UserError
from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.model.loading import LanguageModel
from saeattr.runs.metric import make_metric
from saeattr.saes.loading import SaeFile
from saeattr.selection.measure import select
from saeattr.sites import Site
from saeattr.study.results import Study

SMALL = {"lists": 3, "figures": False, "device": "cpu"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("stages") / "s"
    return saeattr.attribute("cities", out=out, sites=["resid_post.4"], validate_top=0, **SMALL)


def test_validating_later_gives_what_attribute_gives_at_once(plain: Study, tmp_path: Path) -> None:
    assert plain.validation().empty
    at_once = saeattr.attribute("cities", out=tmp_path / "s", sites=["resid_post.4"], validate_top=3, **SMALL)
    later = saeattr.validate(plain, top=3, figures=False, device="cpu")
    pd.testing.assert_frame_equal(later.validation(), at_once.validation())
    pd.testing.assert_frame_equal(later.curves("cities"), at_once.curves("cities"))
    assert len(later.validation("cities")) == 3


def test_what_is_validated_is_not_validated_again_and_more_features_are(
    plain: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    saeattr.validate(plain, top=2, curves=False, figures=False, device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr("saeattr.study.run.load_model", None)
        assert len(saeattr.validate(plain, top=2, curves=False, figures=False, device="cpu").validation()) == 2
    assert len(saeattr.validate(plain, top=4, curves=False, figures=False, device="cpu").validation()) == 4


def test_lists_are_generated_without_the_top_features(plain: Study) -> None:
    study = saeattr.validate(
        plain, top=2, curves=False, generate=True, generate_features=2, figures=False, device="cpu"
    )
    table = study.generation("cities")
    assert set(table["condition"]) == {"nothing", "features", "controls", "steering"}
    assert set(table["measure"]) == {"items", "tokens", "repeated", "shannon", "ended"}
    pd.testing.assert_frame_equal(study.generation(), table)


def test_layers_are_chosen_once_and_kept(tmp_path: Path) -> None:
    out = tmp_path / "s"
    found = saeattr.select("cities", out=out, max_sites=2, lists=3, device="cpu")
    chosen = {(file.site.kind, file.site.layer) for file in found.chosen}
    assert len(chosen) == 2
    # Another limit does not change a study that has begun.
    study = saeattr.attribute(["cities", "animals"], out=out, max_sites=5, validate_top=0, **SMALL)
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
    metric = make_metric("end-vs-continue", lm.tokenizer)
    direct, other = (select(lm, pairs, files, metric, decision=decision, most=2) for decision in ("all", "last"))
    pd.testing.assert_frame_equal(found.table, direct.table)
    assert not found.table["score"].equals(other.table["score"])
    assert found.table["chosen"].sum() == 2
