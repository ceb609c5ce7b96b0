"""The whole study in one call: every stage that applies, in order, in one folder and one page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import saeattr
from saeattr.reporting.lines import part_lines
from saeattr.study.results import Study
from saeattr.study.run import STAGES
from saeattr.study.stage import Stage

SMALL: dict[str, Any] = {
    **{"sites": ["resid_post.4", "resid_post.5"], "validate_top": 2, "controls": 19, "curves": False},
    **{"generate_features": (1, 2), "device": "cpu"},
}
#: Of a study of lists at named sites, which chooses none.
OF_LISTS = [stage.name for stage in STAGES if stage.name != "selection" and not stage.of_all]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return saeattr.run_study("cities", out=tmp_path_factory.mktemp("whole") / "study", lists=6, **SMALL)


def test_every_stage_of_lists_is_there(study: Study) -> None:
    folder = study.folder
    assert [stage.name for stage in STAGES if stage.is_there(folder, "cities")] == OF_LISTS
    directions = set(study.logit_lens()["direction"])
    assert directions == {"end-vs-continue", "blank-vs-newline"}
    assert set(study.patching()["method"]) == {"exact", "attribution"}
    grid = study.generation("cities")
    assert set(grid["n_features"]) == {1, 2}
    assert set(zip(grid["kind"], grid["layer"], strict=True)) == {("resid_post", 4), ("resid_post", 5)}


def test_stages_were_done_in_their_order(study: Study) -> None:
    newest = [
        max(path.stat().st_mtime_ns for part in stage.parts(study.folder, "cities") for path in part.iterdir())
        for stage in STAGES
        if stage.is_there(study.folder, "cities")
    ]
    assert newest == sorted(newest)


def test_the_page_has_a_section_for_each_in_that_order(study: Study) -> None:
    page = (study.folder.root / "report.html").read_text(encoding="utf-8")
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections == [
        *("summary", "behaviour", "lists", "entropy", "lens", "patching", "features", "generation", "checks")
    ]
    assert re.findall(r'<a href="#(\w+)">', page.split("</nav>")[0]) == sections
    for lines in part_lines(study).values():
        for line in lines:
            assert line.replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;") in page


def test_a_second_call_does_nothing_again(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: Any) -> None:
        raise AssertionError("it is done already")

    for stage in STAGES:
        monkeypatch.setattr(stage, "run", again)
    monkeypatch.setattr("saeattr.study.hands.load_model", again)
    found = saeattr.run_study("cities", out=study.folder.root, figures=False, lists=6, **SMALL)
    pd.testing.assert_frame_equal(found.patching(), study.patching())


def test_an_interrupted_study_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    carry: Any = Stage.write

    def write(self: Stage, *rest: Any) -> None:
        carry(self, *rest)
        done.append(self.name)
        if self.name == "lens":
            raise KeyboardInterrupt

    few = {**SMALL, "sites": ["resid_post.5"], "lists": 3, "generate": False, "figures": False}
    with monkeypatch.context() as patched:
        patched.setattr(Stage, "write", write)
        with pytest.raises(KeyboardInterrupt):
            saeattr.run_study("cities", out=tmp_path / "s", **few)
        stopped, done[:] = list(done), []
        patched.setattr(Stage, "write", lambda self, *rest: (carry(self, *rest), done.append(self.name))[0])
        found = saeattr.run_study("cities", out=tmp_path / "s", **few)
    assert stopped == ["pairs", "statistics", "entropy", "lens"]
    assert done[0] == "lens"
    assert "pairs" not in done
    assert len(found.features()) > 0


def test_other_behaviours_get_what_applies(tmp_path: Path) -> None:
    few = {**SMALL, "sites": ["resid_post.5"], "n_pairs": 6}
    found = saeattr.run_study("capitals", behaviour="facts", out=tmp_path / "s", **few)
    there = {stage.name for stage in STAGES if stage.is_there(found.folder, "capitals")}
    assert there == {"pairs", "entropy", "lens", "patching", "head_moves", "attribution", "validation"}
    assert set(found.logit_lens()["direction"]) == {"metric"}
    page = (found.folder.root / "report.html").read_text(encoding="utf-8")
    assert '<section id="lists"' not in page
    assert '<section id="patching"' in page


def test_pairs_without_corrupted_prompts_are_read_but_not_patched(tmp_path: Path) -> None:
    rows = [{"clean": text, "answer": " Paris"} for text in ("The capital of France is", "- Lima\n- Rome\n-")]
    few = {**SMALL, "sites": ["resid_post.5"], "validate_top": 0, "base": "zero"}
    found = saeattr.run_study(pairs=rows, out=tmp_path / "s", figures=False, **few)
    assert found.patching().empty
    assert len(found.entropy()) > 0
    assert len(found.features()) > 0
    assert any("no corrupted prompt" in warning for warning in found.warnings)
