"""Comparing two studies as a user does: what is refused, what is noted, what is written and printed."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import saeattr
from saeattr import UserError
from saeattr.cli import main
from saeattr.files import read_table
from saeattr.reporting.figures.comparison import comparison_figure
from saeattr.reporting.figures.style import figure_title
from saeattr.reporting.terminal.comparison import where_it_begins
from saeattr.study.folder import StudyFolder, write_record
from saeattr.study.results import Study, load_study
from saeattr.tables import COMPARISON, PAIRS
from tests.comparison.tuned import SMALL, compared, studies
from tests.tampered import write_tampered


def copy_of(study: Study, folder: Path, **settings: Any) -> Study:
    """The study with some of its record changed."""
    shutil.copytree(study.folder.root, folder)
    record = study.record
    for name, value in settings.items():
        (record if name in record else record["settings"])[name] = value
    write_record(StudyFolder(folder), record)
    return load_study(folder)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"base": "zero"}, "ask different questions (--base is 'corrupted' in A and 'zero' in B)"),
        ({"dtype": "bfloat16"}, "(--dtype is 'float32' in A and 'bfloat16' in B)"),
        ({"metric_label": "another"}, "(the metric is 'logit(<end_of_turn>) - logit(-)' in A and 'another' in B)"),
        (
            {"groups": ["animals"]},
            "no group in common (A: cities; B: animals): make B on the pairs of A with --pairs-of",
        ),
        ({"saes": {"mlp_out.1": "x"}}, "only study A has the site resid_post.2: make the other one again with --sites"),
    ],
)
def test_studies_that_differ_in_more_than_the_model_are_refused(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    base, tuned = studies()
    other = copy_of(tuned, tmp_path / "other", **changed)
    with pytest.raises(UserError) as refused:
        saeattr.compare(base, other, out=tmp_path / "c")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "c").exists()


def test_other_saes_are_refused_by_the_site(tmp_path: Path) -> None:
    base, tuned = studies()
    other = copy_of(tuned, tmp_path / "other", saes={**tuned.record["saes"], "mlp_out.3": "another"})
    with pytest.raises(UserError, match="different SAEs at mlp_out.3"):
        saeattr.compare(base, other, out=tmp_path / "c")


def with_pairs(study: Study, folder: Path, keep: int) -> Study:
    """The study whose pairs but the first ``keep`` are of other tokens."""
    found = copy_of(study, folder)
    path = folder / "pairs" / "cities" / "pairs.parquet"
    rows = read_table(path, PAIRS)
    rows["clean_ids"] = [ids if at < keep else [*ids[:-1], 3] for at, ids in enumerate(rows["clean_ids"])]
    write_tampered(path, rows)
    return found


def test_pairs_in_common_alone_are_compared_and_counted(tmp_path: Path) -> None:
    base, tuned = studies()
    found = saeattr.compare(base, with_pairs(tuned, tmp_path / "b", 6), out=tmp_path / "c", figures=False)
    assert "cities: only the 6 pairs in common are compared (of 8 in A, 8 in B)" in found.notes
    assert (found.changes["n_pairs"] == 6).all()
    with pytest.raises(
        UserError, match=r"have 3 pairs of 'cities' in common \(of 8 in A and 8 in B\), and 50% must be"
    ):
        saeattr.compare(base, with_pairs(tuned, tmp_path / "few", 3), out=tmp_path / "d")


def test_a_study_beside_itself_has_no_change(tmp_path: Path) -> None:
    base = studies()[0]
    found = saeattr.compare(base, base, out=tmp_path / "c", figures=False)
    assert "both studies are of the same model: nothing can have changed but by rounding" in found.notes
    assert (found.changes[["change_median", "activation_part", "slope_part"]] == 0).all(axis=None)
    assert (found.sites["activation_change"] == 0).all()
    assert where_it_begins(found.sites) == "no activation differs at any compared site"


def test_the_tables_are_written_as_documented_and_an_old_one_goes(tmp_path: Path) -> None:
    found = compared()
    for table, rows in zip(COMPARISON, (found.changes, found.sites, found.tests, found.exact), strict=True):
        stored = read_table(found.folder / f"{table.name}.parquet", table)
        pd.testing.assert_frame_equal(stored, rows)
        assert list(stored.columns) == table.names
    record = yaml.safe_load((found.folder / "comparison.yaml").read_text(encoding="utf-8"))
    assert record["asked"] == {"exact": 12, "controls": 19, "smallest": 0.01}
    assert record["a"]["model"]["sha256"] != record["b"]["model"]["sha256"]
    shutil.copytree(found.folder, tmp_path / "c")
    again = saeattr.compare(*studies(), out=tmp_path / "c", figures=False)
    assert again.tests.empty
    assert {path.name for path in (tmp_path / "c").glob("*.parquet")} == {"changes.parquet", "site_changes.parquet"}


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    base, tuned = studies()
    with pytest.raises(UserError, match="holds no comparison: give another folder with --out"):
        saeattr.compare(base, tuned, out=base.folder.root)


def test_the_figure_names_the_finding_and_has_a_panel_more_where_exact_effects_are_known() -> None:
    figure = comparison_figure(compared())
    assert figure is not None
    assert len(figure.axes) == 3
    changed = int((compared().changes["q_value"] <= 0.05).sum())
    assert figure_title(figure).startswith(f"cities: {changed} of {len(compared().changes)} features compared on 8 ")
    assert [path.name for path in compared().figures] == ["changes.png"]
    blank = compared().sites.assign(taken_back=float("nan"))
    bare = comparison_figure(dataclasses.replace(compared(), sites=blank))
    assert bare is not None
    assert len(bare.axes) == 2
    assert comparison_figure(dataclasses.replace(compared(), changes=compared().changes.head(0))) is None


def test_the_command_prints_where_the_change_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    base, tuned = (str(study.folder.root) for study in studies())
    with pytest.raises(SystemExit) as stopped:
        main(["compare", base, tuned, "--out", str(tmp_path / "c"), "--top", "3"])
    assert not stopped.value.code
    words = " ".join(capsys.readouterr().out.split())
    assert "activations are equal at the first 2 compared sites and differ from attn_z.3 on" in words
    assert "not measured" in words
    assert "with 8 pairs, changes among" in words
    assert (tmp_path / "c" / "changes.png").is_file()


def test_without_pairs_to_test_on_each_half_tests_what_the_other_ranks(tmp_path: Path) -> None:
    base = studies()[0]
    small = {**SMALL, "validate_top": 0, "sites": ["mlp_out.3"]}
    small.pop("lists")
    one, other = (
        saeattr.attribute(out=tmp_path / name, pairs_of=str(base.folder.root), model=model, **small)
        for name, model in (("a", "bundled"), ("b", str(studies()[1].record["settings"]["model"])))
    )
    found = saeattr.compare(one, other, out=tmp_path / "c", exact=2, controls=19, device="cpu", figures=False)
    assert set(found.exact["pair_id"]) == set(base.pairs()["pair_id"])
    assert len(found.tests) >= 2
    assert (found.tests["n_pairs"] <= 8).all()
