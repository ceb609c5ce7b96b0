"""The table of one group: the numbers of its validation, within a terminal's width."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from rich.console import Console

from saeattr.reporting.terminal.group import group_lines, group_table
from saeattr.tables import FEATURES
from tests.reporting.validations import Told, estimated, too_few_pairs, validated


def printed(study: Told, width: int = 120, labels: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    stream = io.StringIO()
    rows = FEATURES.frame(estimated(study.validation()))
    Console(file=stream, width=width).print(group_table(rows, "cities", study, labels, width))
    return stream.getvalue().splitlines()


def cells(lines: list[str], address: str) -> list[str]:
    (line,) = (line for line in lines if address in line)
    return [cell.strip() for cell in line.strip("│ ").split("│")]


def test_a_row_holds_estimate_exact_effect_share_controls_q_and_verdict(tmp_path: Path) -> None:
    study = Told(tmp_path, validated({}, {"feature": 10, "n_as_strong": 4, "verdict": "within controls"}))
    lines = printed(study)
    said = ["-2.000", "-1.80 [-2.10, -1.50]", "20.0%"]
    assert cells(lines, "resid_post.5/9") == ["resid_post.5/9", *said, "0/39", "0.004", "causal", "newline ⏎"]
    assert cells(lines, "resid_post.5/10")[4:7] == ["4/39", "0.004", "within controls"]
    assert "ranked by 8 distinct pairs, tested on 10 others; effect: " in " ".join(lines)


def test_the_longest_rows_stay_within_120_columns(tmp_path: Path) -> None:
    longest = {"layer": 25, "feature": 16383, "exact_median": -12.34, "exact_low": -13.0, "exact_high": -11.0}
    lines = printed(Told(tmp_path, validated({**longest, "verdict": "too few controls", "share": 1.5})))
    assert max(map(len, lines)) <= 120
    assert "resid_post.25/16383" in "\n".join(lines)
    assert "too few controls" in "\n".join(lines)


@pytest.mark.parametrize("width", [80, 100])
def test_a_narrow_terminal_is_shown_the_verdicts(tmp_path: Path, width: int) -> None:
    lines = printed(Told(tmp_path, validated({})), width)
    assert max(map(len, lines)) <= width
    assert "causal" in cells(lines, "resid_post.5/9")
    assert "…" not in "".join(lines)


def test_too_few_pairs_are_no_nan(tmp_path: Path) -> None:
    lines = printed(Told(tmp_path, validated(too_few_pairs(gap=float("nan"), share=float("nan"))), fresh=3))
    assert "-1.80 [too few pairs]" in cells(lines, "resid_post.5/9")
    assert "nan" not in "\n".join(lines)


def test_without_a_validation_the_median_of_the_estimate_stands_there(tmp_path: Path) -> None:
    study = Told(tmp_path, validated().head(0), fresh=0)
    stream = io.StringIO()
    rows = estimated(validated({}))
    Console(file=stream, width=120).print(group_table(rows, "cities", study, {}))
    said = ["-2.000", "-1.90 [-2.15, -1.65]", "8", "newline ⏎"]
    assert cells(stream.getvalue().splitlines(), "resid_post.5/9")[1:] == said


def test_a_label_takes_the_place_of_where_it_fires(tmp_path: Path) -> None:
    lines = printed(Told(tmp_path, validated({}, {"feature": 10})), labels={"resid_post.5/9": "ends [of] lists"})
    assert cells(lines, "resid_post.5/9")[-1] == "ends [of] lists"
    assert cells(lines, "resid_post.5/10")[-1] == "causal"


def test_below_the_table_verdicts_are_counted_and_power_is_said(tmp_path: Path) -> None:
    study = Told(tmp_path, validated({}, {"feature": 10, "verdict": "small"}))
    assert group_lines(study, "cities") == [
        "cities: of 2 features tested, 1 causal, 1 small",
        "10 distinct pairs test 2 features: what they can show",
    ]
    nothing = Told(tmp_path, validated().head(0), ranking=1, fresh=0)
    assert group_lines(nothing, "cities") == [
        "cities: 1 distinct pair, and none that was drawn to test on is another: no verdict"
    ]
