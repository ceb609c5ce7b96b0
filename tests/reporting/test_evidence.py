"""What is said of the pairs that ranked and tested, in each way that a study can have them."""

from __future__ import annotations

from pathlib import Path

from saeattr.reporting.evidence import evidence_text, n_testing, power_lines, untested_lines
from tests.reporting.validations import Told, validated


def test_fresh_pairs_are_counted_beside_those_that_ranked(tmp_path: Path) -> None:
    study = Told(tmp_path, validated({}), ranking=8, fresh=10)
    assert evidence_text(study, "cities") == "ranked by 8 distinct pairs, tested on 10 others"
    assert n_testing(study, "cities") == 10
    assert power_lines(study) == [
        "cities: ranked by 8 distinct pairs, tested on 10 others. 10 distinct pairs test 2 features: what they can show"
    ]
    assert untested_lines(study) == []


def test_halves_are_told_from_fresh_pairs(tmp_path: Path) -> None:
    study = Told(tmp_path, validated({}), ranking=42, fresh=None)
    assert evidence_text(study, "cities") == "each half of 42 distinct pairs tested what the other half ranked"
    assert n_testing(study, "cities") == 42


def test_where_nothing_is_left_to_test_on_it_is_said(tmp_path: Path) -> None:
    study = Told(tmp_path, validated().head(0), ranking=1, fresh=0)
    assert evidence_text(study, "cities") == "ranked by 1 distinct pair"
    assert n_testing(study, "cities") == 0
    assert untested_lines(study) == [
        "cities: 1 distinct pair, and none that was drawn to test on is another: no verdict"
    ]
    assert power_lines(study) == []


def test_who_asked_for_no_test_is_told_nothing(tmp_path: Path) -> None:
    assert untested_lines(Told(tmp_path, validated().head(0), fresh=None)) == []
