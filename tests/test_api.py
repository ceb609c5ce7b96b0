"""A study as a user runs it: what it writes, that it resumes without redoing, and the same command gives the same."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import saeattr
import saeattr.api
from saeattr import UserError
from saeattr.study.results import Study, load_study
from saeattr.study.stage import WHOLE

SMALL = {"lists": 3, "sites": ["resid_post.1", "mlp_out.3"], "figures": False, "device": "cpu"}
TABLES = ("attributions", "features", "site_effects", "metric_by_point")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return saeattr.attribute("cities", out=tmp_path_factory.mktemp("s") / "study", **SMALL)


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def test_the_tables_have_the_documented_columns(study: Study) -> None:
    assert list(study.attributions().columns) == [
        *["group", "pair_id", "layer", "kind", "feature", "position", "token", "role"],
        *["act_clean", "act_base", "grad", "effect"],
    ]
    assert list(study.features().columns) == [
        *["group", "layer", "kind", "feature", "effect_mean", "effect_median", "effect_low", "effect_high"],
        *["n_pairs", "rank", "top_role", "top_token"],
    ]


def test_every_effect_is_the_change_of_activation_times_the_gradient(study: Study) -> None:
    rows = study.attributions()
    assert len(rows) > 100
    product = (rows["act_base"] - rows["act_clean"]) * rows["grad"]
    pd.testing.assert_series_equal(rows["effect"], product, check_names=False, rtol=1e-4, atol=1e-6)


def test_feature_means_are_the_means_of_the_lists_sums(study: Study) -> None:
    rows, features = study.attributions(), study.features()
    sums = rows.groupby(["layer", "kind", "feature"])["effect"].sum() / rows["pair_id"].nunique()
    for row in features.head(20).to_dict("records"):
        assert row["effect_mean"] == pytest.approx(sums[row["layer"], row["kind"], row["feature"]], rel=1e-4)
    # Three lists have no interval of a median.
    assert features[["effect_low", "effect_high"]].isna().all(axis=None)
    assert features["effect_mean"].abs().is_monotonic_decreasing


def test_no_row_is_at_bos_or_where_nothing_can_reach_the_metric(study: Study) -> None:
    rows = study.attributions()
    assert (rows["position"] > 0).all()
    assert "bos" not in set(rows["role"])
    assert set(rows["role"]) >= {"length", "newline"}
    assert "end" not in set(rows["role"])


def test_the_lists_open_as_a_dataset(study: Study) -> None:
    lists = study.lists()
    assert len(lists) == 3
    assert {"topic", "request", "text", "token_ids", "items", "temperature", "seed"} <= set(lists.column_names)
    assert lists[0]["topic"] == "cities"
    assert lists[0]["text"].startswith("- ")


def test_the_same_command_gives_the_same_bytes(study: Study, tmp_path: Path) -> None:
    saeattr.attribute("cities", out=tmp_path / "again", **SMALL)
    assert tables(tmp_path / "again") == tables(study.folder.root)


def test_batches_change_no_number_beyond_rounding(study: Study, tmp_path: Path) -> None:
    other = saeattr.attribute("cities", out=tmp_path / "one", batch_size=1, **SMALL)
    ours, theirs = study.attributions(), other.attributions()
    keys = ["pair_id", "layer", "kind", "feature", "position"]
    both = ours.merge(theirs, on=keys, suffixes=("", "_one"))
    assert len(both) >= 0.999 * max(len(ours), len(theirs))
    assert (both["effect"] - both["effect_one"]).abs().max() < 1e-3 * ours["effect"].abs().max()


def test_a_finished_study_loads_no_model(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("saeattr.study.hands.load_model", refuse)
    before = tables(study.folder.root)
    again = saeattr.attribute("cities", out=study.folder.root, **SMALL)
    assert again.groups == ("cities",)
    assert tables(study.folder.root) == before


def test_a_new_group_is_added_and_the_old_one_is_not_computed_again(tmp_path: Path) -> None:
    saeattr.attribute("cities", out=tmp_path / "s", **SMALL)
    old = {path: path.stat().st_mtime_ns for path in (tmp_path / "s" / "attribution" / "cities").iterdir()}
    worked: set[str] = set()
    both = saeattr.attribute(
        "rivers",
        out=tmp_path / "s",
        on_progress=lambda group, stage, done, total: worked.add(group),
        **SMALL,
    )
    assert both.groups == ("cities", "rivers")
    # What it tells of the study is how many stages are done.
    assert worked == {"rivers", WHOLE}
    assert {path: path.stat().st_mtime_ns for path in old} == old
    assert set(both.features()["group"]) == {"cities", "rivers"}
    assert load_study(tmp_path / "s").groups == ("cities", "rivers")


@pytest.mark.parametrize("stage", ["sampling lists", "forward and backward", "attribution"])
def test_interrupted_anywhere_the_next_run_ends_with_the_same_tables(study: Study, tmp_path: Path, stage: str) -> None:
    def interrupt(group: str, at: str, done: int, total: int) -> None:
        if at == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        saeattr.attribute("cities", out=tmp_path / "s", on_progress=interrupt, **SMALL)
    # What is half done lies apart.
    assert [name for name in tables(tmp_path / "s") if ".partial-" not in str(name)] == []
    saeattr.attribute("cities", out=tmp_path / "s", **SMALL)
    assert tables(tmp_path / "s") == tables(study.folder.root)
    leftovers = [path.name for path in (tmp_path / "s").rglob(".*")]
    assert leftovers == []


def test_other_settings_are_refused_and_named(study: Study) -> None:
    before = tables(study.folder.root)
    with pytest.raises(UserError, match=r"settings.seed is 0 there and 4 here.*--out"):
        saeattr.attribute("cities", out=study.folder.root, seed=4, **SMALL)
    with pytest.raises(UserError, match=r"holds 3 lists of each group and 2 are asked for.*--out"):
        saeattr.attribute("cities", out=study.folder.root, **{**SMALL, "lists": 2})
    assert tables(study.folder.root) == before


def test_a_budget_makes_batches_smaller_and_changes_no_number_beyond_rounding(study: Study, tmp_path: Path) -> None:
    free = json.loads((study.folder.root / "plan.json").read_text(encoding="utf-8"))["groups"]["cities"]
    limit = f"{free['peak'] - 1}"
    tight = saeattr.attribute("cities", out=tmp_path / "s", vram=limit, **SMALL)
    plan = json.loads((tmp_path / "s" / "plan.json").read_text(encoding="utf-8"))["groups"]["cities"]
    assert plan["stages"]["attribution"]["batch_size"] < free["stages"]["attribution"]["batch_size"]
    assert plan["peak"] <= plan["budget"] == int(limit)
    assert plan["measured_peak"]["attribution"] > 0
    ours, theirs = study.features().set_index(["layer", "kind", "feature"]), tight.features()
    theirs = theirs.set_index(["layer", "kind", "feature"])
    # A feature at its threshold may be active in one batch and not in another: its effect is as small as rounding.
    both = ours.join(theirs, rsuffix="_tight", how="outer")
    assert len(both) <= 1.01 * len(ours)
    assert (both["effect_mean"].fillna(0) - both["effect_mean_tight"].fillna(0)).abs().max() < 1e-4


def test_a_group_nobody_trained_on_is_answered_or_explained(tmp_path: Path) -> None:
    study = saeattr.attribute("cheeses", out=tmp_path / "s", **{**SMALL, "lists": 8})
    used = study.attributions()["pair_id"].nunique()
    assert used >= 1
    assert any("cheeses" in warning for warning in study.warnings) or used == 8


def test_lists_that_do_not_parse_end_the_study_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pair about cities can be used.*another group"):
        saeattr.attribute("cities", out=tmp_path / "s", max_new_tokens=1, **SMALL)
    assert (tmp_path / "s" / "lists" / "cities.parquet").is_file()


@pytest.mark.parametrize("base", ["zero", "mean"])
def test_other_bases_say_so_in_the_record(tmp_path: Path, base: str) -> None:
    study = saeattr.attribute("cities", out=tmp_path / "s", base=base, **SMALL)
    assert study.record["settings"]["base"] == base
    rows = study.attributions()
    assert (rows["act_clean"] > 0).all()
    if base == "zero":
        assert (rows["act_base"] == 0).all()
    sums = study.site_effects().groupby("kind")[["features_effect", "error_effect", "total_effect"]].sum()
    assert (sums["total_effect"] != 0).all()


def test_reading_the_metric_at_every_newline_uses_them_all(tmp_path: Path) -> None:
    study = saeattr.attribute("cities", out=tmp_path / "s", decision="all", base="zero", **SMALL)
    newlines = study.attributions().query("role == 'newline' and layer == 3")
    items = study.metric_by_point().query("run == 'clean'").groupby("pair_id")["point"].max()
    found = newlines.groupby("pair_id")["position"].nunique()
    assert found.to_dict() == items.to_dict()


def test_a_group_that_is_nearly_a_known_one_is_pointed_out(tmp_path: Path) -> None:
    small = {**SMALL, "sites": ["resid_post.1"], "validate_top": 0}
    study = saeattr.attribute("citties", out=tmp_path / "s", **small)
    assert any("did you mean the topic 'cities'" in warning for warning in study.warnings)
