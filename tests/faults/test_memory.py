"""Too little memory: one line that names it, never a traceback, and the same command with more goes on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.close import check_close
from tests.faults.children import run
from tests.faults.chosen import some
from tests.faults.conftest import Outcomes
from tests.faults.injected import little_memory
from tests.faults.outcome import Outcome, Run, judge
from tests.faults.studies import ATTRIBUTE

MEGABYTE = 1 << 20
#: More than the imports have taken, in MB: from what nothing can begin with to what is enough.
LIMITS = (0, 1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def judge_refusal(done: Run) -> Outcome:
    """A line that names memory; the C library, which may end the process itself where a library is opened, has one."""
    if done.code is None or "Traceback (most recent call last)" in done.told:
        return judge(done, False)
    return Outcome("held" if "memory" in done.last.lower() else "traceback", f"exit {done.code}: {done.last}")


def unlike(study: Path, whole: Path) -> str:
    """Where a study differs by more than the last digits, which batches change that are halved for lack of memory."""
    try:
        check_close(study, whole)
    except AssertionError as error:
        return str(error)
    return ""


def test_too_little_memory_is_one_line_that_names_it(attributed: Path, tmp_path: Path, outcomes: Outcomes) -> None:
    for more in some(LIMITS, 2, "memory"):
        folder = tmp_path / f"{more}"
        folder.mkdir()
        first = run(ATTRIBUTE, folder, partial(little_memory, more * MEGABYTE))
        found = judge(first, same=True) if first.code == 0 else judge_refusal(first)
        if found.kind == "held":
            done = run(ATTRIBUTE, folder)
            wrong = unlike(folder / "s", attributed) if done.code == 0 else done.last
            found = Outcome("wrong", wrong) if wrong else found
        outcomes("too little memory", f"{more} MB more than the imports", found)
