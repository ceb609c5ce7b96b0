"""Notes are kept with the study, shown by every later run, replaced with their stage and gone with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import saeattr
from saeattr.study.folder import StudyFolder
from saeattr.study.notes import StageNotes, keep_notes, stored_notes
from saeattr.study.results import load_study


def note(study: StudyFolder, *lines: str, stage: str = "entropy", group: str = "cities", stored: bool = False) -> None:
    keep_notes(study, StageNotes(stage, "", group, stored, lines))


def test_a_stage_done_again_replaces_its_notes_and_no_other(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    note(study, "few lists", "one is long")
    note(study, "few lists", group="rivers")
    note(study, "x_hat is poor", stage="attribution")
    assert stored_notes(study) == ("few lists", "one is long", "x_hat is poor")
    note(study, "enough lists")
    assert stored_notes(study) == ("enough lists", "few lists", "x_hat is poor")
    note(study)
    note(study, group="rivers")
    note(study, stage="attribution")
    assert stored_notes(study) == ()


def test_nothing_to_say_writes_no_file(tmp_path: Path) -> None:
    note(StudyFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_notes_of_a_stage_that_is_gone_are_not_shown(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    (tmp_path / "entropy" / "cities").mkdir(parents=True)
    note(study, "few lists", stored=True)
    assert stored_notes(study) == ("few lists",)
    shutil.rmtree(tmp_path / "entropy" / "cities")
    assert stored_notes(study) == ()


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"stage": 1}]', "\ud800", "[" * 5000, '{"a": 1}'])
def test_notes_that_cannot_be_read_stand_in_the_way_of_nothing(tmp_path: Path, text: str) -> None:
    study = StudyFolder(tmp_path)
    study.notes_path.write_bytes(text.encode("utf-8", "surrogatepass"))
    (line,) = stored_notes(study)
    assert "cannot be read" in line
    note(study, "few lists")
    assert stored_notes(study) == ("few lists",)


def test_what_another_wrote_into_the_file_is_shown_as_letters(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    row = {"stage": "x", "variant": "", "group": "../..", "stored": False, "lines": ["\x1b[2Jgone\nnew line", 7]}
    study.notes_path.write_text(json.dumps([row]), encoding="utf-8")
    assert stored_notes(study) == ("\ufffd[2Jgone\ufffdnew line", "7")


def test_a_later_run_the_loaded_study_and_its_page_show_what_the_first_found(tmp_path: Path) -> None:
    few = {"lists": 2, "temperature": 0.0, "sites": ["resid_post.2"], "device": "cpu", "validate_top": 0}
    first = saeattr.attribute("cities", out=tmp_path / "s", figures=False, **few)
    assert "cities: 1 distinct list among 2: the same tokens are one pair" in first.warnings
    again = saeattr.attribute("cities", out=tmp_path / "s", figures=False, **few)
    assert again.warnings == first.warnings == load_study(tmp_path / "s").warnings
    keep_notes(again.folder, StageNotes("study", "", "study", False, ("<script>alert(1)</script>",)))
    page = saeattr.report(tmp_path / "s", model=False).read_text(encoding="utf-8")
    assert "cities: 1 distinct list among 2" in page
    assert "alert(1)" in page
    assert "<script>alert" not in page
    # More lists: what was said of two is gone with what was made of them.
    more = saeattr.attribute("cities", out=tmp_path / "s", figures=False, **{**few, "lists": 3})
    assert "cities: 1 distinct list among 3: the same tokens are one pair" in more.warnings
    assert not any("among 2" in line for line in load_study(tmp_path / "s").warnings)
