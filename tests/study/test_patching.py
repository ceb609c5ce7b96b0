"""Patching as a user calls it: variants side by side, what is stored is not done again, bad input in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import saeattr
from saeattr import UserError
from saeattr.cli import main
from saeattr.patching.components import COMPONENTS
from saeattr.patching.heads import head_summary
from saeattr.patching.summary import patching_summary
from saeattr.study.patching import Patching, patching_stages
from saeattr.study.results import Study

GIVEN: dict[str, Any] = {"lists": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("patching") / "s"
    saeattr.patch(["cities", "animals"], component="resid_pre,resid_post,z", method="both", out=out, **GIVEN)
    return saeattr.patch(["cities", "animals"], component="z", by="head", out=out, **GIVEN)


def cell(study: Study, group: str, component: str, layer: int, place: str) -> dict[Any, Any]:
    table = study.patching(group)
    own = table[(table["component"] == component) & (table["method"] == "exact") & (table["by"] == "role")]
    found = patching_summary(own)
    (row,) = found[(found["layer"] == layer) & (found["place"] == place)].to_dict("records")
    return row


@pytest.mark.parametrize("group", ["cities", "animals"])
def test_the_word_carries_the_whole_effect_at_layer_0_and_the_last_position_at_the_last_layer(
    study: Study, group: str
) -> None:
    assert cell(study, group, "resid_pre", 0, "length")["normalised"] == pytest.approx(1.0, abs=1e-4)
    assert cell(study, group, "resid_post", 5, "decision")["normalised"] == pytest.approx(1.0, abs=1e-4)
    assert cell(study, group, "resid_pre", 5, "decision")["normalised"] > 0.9
    assert abs(cell(study, group, "resid_pre", 0, "decision")["normalised"]) < 1e-4
    assert abs(cell(study, group, "resid_pre", 5, "length")["normalised"]) < 0.05


def test_variants_stand_side_by_side_and_say_what_they_are(study: Study) -> None:
    table = study.patching()
    stored = {path.name for path in (study.folder.root / "patching").iterdir()}
    assert {"z-role-noising-exact", "z-head-noising-exact", "all-role-noising-attribution"} <= stored
    variants = set(table[["component", "by", "method"]].itertuples(index=False, name=None))
    assert ("z", "head", "exact") in variants
    assert {name for name, _, method in variants if method == "attribution"} == set(COMPONENTS)
    assert list(dict.fromkeys(table["group"])) == ["cities", "animals"]


def test_what_is_stored_is_not_done_again(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the model is not needed")

    monkeypatch.setattr("saeattr.study.hands.load_model", refuse)
    again = saeattr.patch(
        ["cities", "animals"], component="z", by="head", out=study.folder.root, figures=False, **GIVEN
    )
    assert again.patching().equals(study.patching())


def test_agreement_is_there_for_what_was_patched_both_ways(study: Study) -> None:
    agreement = study.patching_agreement("cities").set_index("component")
    assert set(agreement.index) == {"resid_pre", "resid_post", "z"}
    assert agreement["pearson"].between(-1, 1).all()
    assert agreement.loc["resid_post", "pearson"] > 0.9


def test_heads_are_told_for_every_pair(study: Study) -> None:
    moves = study.head_moves("cities")
    assert len(moves) == study.pairs("cities")["pair_id"].nunique() * 6 * 4
    heads = head_summary(moves)
    assert {(row["head"], row["kv_head"]) for row in heads.to_dict("records")} == {(0, 0), (1, 0), (2, 1), (3, 1)}


def test_figures_are_drawn_and_stand_in_the_report(study: Study) -> None:
    names = {path.name for path in study.figures}
    assert {
        "patching-maps-cities-role-noising.png",
        "patching-attention-cities-head-noising.png",
        "patching-gradient-cities-role-noising.png",
        "patching-heads-animals.png",
    } <= names
    axes = saeattr.plots.head_moves(study.head_moves("cities"))
    assert axes.has_data()
    with pytest.raises(UserError, match="one group, by, direction and method"):
        saeattr.plots.patching(study.patching())
    table = study.patching("cities")
    exact = table[(table["method"] == "exact") & (table["by"] == "head")]
    assert saeattr.plots.patching(exact).has_data()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"component": "nonsense"}, "'nonsense' is not a component: choose from resid_pre"),
        ({"component": "mlp_out", "by": "head"}, "mlp_out has no heads, so it cannot be patched --by head"),
        ({"by": "layer"}, "--by cannot be 'layer': choose one of role, head, head-role, token"),
        ({"direction": "up"}, "--direction cannot be 'up'"),
        ({"method": "magic"}, "--method cannot be 'magic': choose one of exact, attribution, both"),
        ({"most_pairs": 0}, "--most-pairs cannot be 0"),
    ],
)
def test_what_does_not_go_is_refused_in_one_line_before_anything_is_written(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        saeattr.patch("cities", out=tmp_path / "s", **{**GIVEN, **given})
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "s").exists()


def test_all_by_head_is_all_that_have_heads_and_gradients_are_one_stage() -> None:
    stages = patching_stages(["all"], by="head", method="both")
    assert [stage.component for stage in stages] == ["q", "k", "v", "scores", "pattern", "z", "all"]
    assert [stage.method for stage in stages[-2:]] == ["exact", "attribution"]
    assert Patching("z", "head-role", "denoising").variant == "z-head-role-denoising-exact"


def test_the_command_prints_places_agreement_and_heads(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    flags = ["--component", "resid_pre,resid_post,z", "--method", "both", "--no-figures", "--most-pairs", "20"]
    with pytest.raises(SystemExit) as ended:
        main(["patch", "--topic", "cities", "--lists", "4", "--out", str(study.folder.root), "--device", "cpu", *flags])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for words in (
        "resid_pre by role, noising: corrupted put into the clean run",
        "normalised: 0 as clean, 1 as corrupted",
        "item breaks",
        "patching by gradient against exact patching",
        "heads that carry what differs",
    ):
        assert words in " ".join(printed.split())


def test_of_many_pairs_some_are_patched_and_that_is_said(study: Study) -> None:
    again = saeattr.patch(
        "cities", component="attn_out", most_pairs=2, heads=False, out=study.folder.root, figures=False, **GIVEN
    )
    assert any("cities: 2 of 4 pairs are patched" in warning for warning in again.warnings)
    table = again.patching("cities")
    own = table[(table["component"] == "attn_out") & (table["method"] == "exact")]
    assert own["pair_id"].nunique() == 2
