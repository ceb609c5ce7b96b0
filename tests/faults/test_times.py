"""Files that all changed at one time, or in another order: a copied study is neither joined nor trusted wrongly."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.children import run
from tests.faults.chosen import kinds
from tests.faults.conftest import Outcomes
from tests.faults.outcome import Outcome, judge
from tests.faults.studies import ATTRIBUTE, copied, difference, made

#: Seconds since 1970 of a checkout.
ONE_TIME = 1_700_000_000


def all_at(folder: Path, when: Callable[[Path], float]) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (when(path), when(path)))


TIMES: dict[str, Callable[[Path], float]] = {
    "all at one time": lambda path: ONE_TIME,
    "parts later than what they are joined to": lambda path: ONE_TIME + len(path.parts),
    "parts earlier than what they are joined to": lambda path: ONE_TIME - len(path.parts),
    "in the future": lambda path: 4_000_000_000,
}


@pytest.mark.parametrize("times", kinds(TIMES, ["in the future"]))
def test_a_copied_study_is_the_same_study(times: str, attributed: Path, tmp_path: Path, outcomes: Outcomes) -> None:
    study = copied(attributed, tmp_path)
    all_at(study, TIMES[times])
    done = run(ATTRIBUTE, tmp_path)
    wrong = difference(study, attributed)
    found = judge(done, not wrong)
    outcomes("times", f"copied, {times}", Outcome("wrong", wrong) if found.kind == "wrong" else found)


@pytest.mark.parametrize("times", kinds(TIMES, ["in the future"]))
def test_a_part_that_was_made_again_is_joined_whatever_the_clock_says(
    times: str, attributed: Path, tmp_path: Path, outcomes: Outcomes
) -> None:
    """Another number of features to test: the stage is done again, and the joined table follows."""
    arguments = [*ATTRIBUTE]
    arguments[arguments.index("--validate-top") + 1] = "3"
    whole = made(tmp_path / "whole", arguments)
    study = copied(attributed, tmp_path)
    all_at(study, TIMES[times])
    done = run(arguments, tmp_path)
    wrong = difference(study, whole)
    found = judge(done, not wrong)
    outcomes("times", f"added to, {times}", Outcome("wrong", wrong) if found.kind == "wrong" else found)
