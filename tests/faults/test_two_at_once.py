"""Two processes on one folder: the second waits or says who holds it; both tables are what one alone makes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.children import LIMIT, run, start
from tests.faults.chosen import moments
from tests.faults.conftest import Outcomes
from tests.faults.outcome import Outcome, judge
from tests.faults.studies import ATTRIBUTE, copied, difference


def together(folder: Path, whole: Path, later: float, more: Sequence[str]) -> Outcome:
    """The same command twice, the second so many seconds after the first and with ``more``."""
    # Whoever waits for the other computes nothing meanwhile.
    first = start(ATTRIBUTE, folder, idle=LIMIT)
    time.sleep(later)
    second = start((*ATTRIBUTE, *more), folder, idle=LIMIT)
    ends = [first.wait(), second.wait()]
    found = [judge(end, not difference(folder / "s", whole, figures=False)) for end in ends]
    for one in found:
        if one.kind != "held":
            return one
    if ends[0].code or (more and ends[1].code):
        return Outcome("wrong", f"refused: {ends[0].last} / {ends[1].last}")
    wrong = difference(folder / "s", whole)
    return Outcome("wrong", wrong) if wrong else Outcome("held", ends[1].last)


@pytest.mark.parametrize("more", [(), ("--wait",)], ids=["refused", "waiting"])
def test_two_runs_into_one_new_folder_make_one_study(
    more: tuple[str, ...], attributed: Path, tmp_path: Path, outcomes: Outcomes
) -> None:
    length = run(ATTRIBUTE, _made(tmp_path / "alone")).seconds
    for share in moments(1, 8, "together"):
        folder = _made(tmp_path / f"{share:.4f}")
        what = " ".join([f"the second at {share:.2f} of the first's time", *more])
        outcomes("two at once", what, together(folder, attributed, share * length, more))


def test_a_study_is_read_while_another_process_adds_to_it(attributed: Path, tmp_path: Path, outcomes: Outcomes) -> None:
    before = run(("overlap", "s"), copied(attributed, _made(tmp_path / "quiet")).parent).said
    for share in moments(1, 4, "read"):
        folder = _made(tmp_path / f"{share:.4f}")
        copied(attributed, folder)
        # Another topic: what there is stays until all is joined.
        writing = start((*ATTRIBUTE, "--topic", "animals"), folder, idle=LIMIT)
        time.sleep(share * 3)
        reading = run(("overlap", "s"), folder)
        done = writing.wait()
        found = judge(reading, reading.said == before)
        outcomes("read beside a writer", "overlap", found if done.code == 0 else Outcome("wrong", done.last))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
