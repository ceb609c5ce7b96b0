"""Bad rows through a whole recall study: each is told with its reason, and the rest runs; one pair alone runs too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import saeattr
from saeattr import UserError
from saeattr.tables import RECALL_CURVES, RECALL_RELEASE
from tests.recall.facts.test_battery import ROW

BAD = {
    "clean_target ' New York' is 2 tokens, and must be one": {"clean_target": " New York"},
    "the entity 'France' is 2 times in the clean prompt": {"clean_prompt": "France: the capital of France is"},
    "the entity 'Spain' is not in the clean prompt": {"entity_token": "Spain"},
    "there is no corrupt_target": {"corrupt_target": ""},
}


def study(rows: list[dict[str, Any]], out: Path) -> saeattr.Study:
    return saeattr.run_recall(rows, parts="localisation", out=out, device="cpu")


def test_bad_rows_are_told_with_their_reason_and_the_rest_runs(tmp_path: Path) -> None:
    rows = [{**ROW, "source": "a book"}, *[{**ROW, **changes} for changes in BAD.values()]]
    found = study(rows, tmp_path / "s")
    for nth, reason in enumerate(BAD, 2):
        assert any(line.startswith(f"left out, row {nth}: {reason}") for line in found.warnings), reason
    assert any("fields that nothing reads: 'source' (in 1 rows)" in line for line in found.warnings)
    assert found.recall(RECALL_CURVES).groupby(["category", "pair_id"]).ngroups == 1
    page = (found.folder.root / "report.html").read_text("utf-8")
    assert "left out, row 2" in page


def test_one_pair_alone_has_curves_figures_and_a_report_without_intervals(tmp_path: Path) -> None:
    found = study([ROW], tmp_path / "s")
    assert found.warnings == ()
    assert found.recall(RECALL_RELEASE)["pair_id"].unique().tolist() == ["France 1"]
    assert {"recall-curves", "recall-top", "recall-spread", "recall-restored"} <= {path.stem for path in found.figures}
    page = (found.folder.root / "report.html").read_text("utf-8")
    assert "Factual recall" in page
    assert "nan" not in page.split("<script")[0].lower().replace("nano", "")


def test_of_many_reasons_some_are_named_and_all_are_counted(tmp_path: Path) -> None:
    answers = [{**ROW, "clean_target": f" New York {word}"} for word in ("a", "b", "c", "d", "e", "f", "g")]
    found = study([ROW, *answers], tmp_path / "s")
    named = [line for line in found.warnings if line.startswith("left out, row")]
    assert len(named) == 5
    assert "left out are 7 rows in all: saeattr recall check names each with its reason" in found.warnings


def test_nothing_that_can_be_asked_or_is_known_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the 1 rows of") as told:
        study([{**ROW, "clean_target": " New York"}], tmp_path / "s")
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="there is no fact to patch"):
        study([{**ROW, "clean_target": " Lima", "corrupt_target": " Paris"}], tmp_path / "s")
    assert not (tmp_path / "s").exists()
