"""A disk that fills up, breaks or becomes read only: one line, and the same command later gives the same study."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

import pytest

from tests.faults.children import run
from tests.faults.chosen import kinds, moments, some
from tests.faults.conftest import Outcomes
from tests.faults.injected import DISK_ERRORS, fail_from, log_steps, short_files
from tests.faults.mounted import Mounted, can_mount, run_on_a_small_disk
from tests.faults.outcome import Outcome, judge
from tests.faults.studies import ATTRIBUTE, difference


def met(folder: Path, whole: Path, fault: partial[None]) -> Outcome:
    """A run that meets the fault says so in a line, or needed nothing of what it forbids; the next completes it."""
    first = run(ATTRIBUTE, folder, fault)
    found = judge(first, not difference(folder / "s", whole))
    if found.kind != "held":
        return found
    done = run(ATTRIBUTE, folder)
    wrong = difference(folder / "s", whole) if done.code == 0 else done.last
    return Outcome("wrong", wrong) if wrong else found


@pytest.fixture(scope="module")
def n_steps(tmp_path_factory: pytest.TempPathFactory) -> int:
    folder = tmp_path_factory.mktemp("steps")
    run(ATTRIBUTE, folder, partial(log_steps, folder / "s", folder / "steps"))
    return len((folder / "steps").read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("code", kinds(DISK_ERRORS, DISK_ERRORS[:1]), ids=lambda code: errno.errorcode[code])
def test_an_error_of_the_disk_is_one_line(
    code: int, n_steps: int, attributed: Path, tmp_path: Path, outcomes: Outcomes
) -> None:
    for share in moments(1, 10, errno.errorcode[code]):
        nth = int(share * n_steps)
        folder = tmp_path / f"{nth}"
        folder.mkdir()
        found = met(folder, attributed, partial(fail_from, folder / "s", nth, code))
        outcomes("disk errors", f"{os.strerror(code)} from step {nth} of {n_steps}", found)


def test_an_error_that_passes_is_one_line_or_nothing(
    n_steps: int, attributed: Path, tmp_path: Path, outcomes: Outcomes
) -> None:
    for share in moments(1, 10, "passes"):
        nth = int(share * n_steps)
        folder = tmp_path / f"{nth}"
        folder.mkdir()
        found = met(folder, attributed, partial(fail_from, folder / "s", nth, errno.EIO, steps=1))
        outcomes("disk errors", f"{os.strerror(errno.EIO)} at step {nth} of {n_steps} alone", found)


def test_files_that_may_not_grow_are_one_line(attributed: Path, tmp_path: Path, outcomes: Outcomes) -> None:
    # Not 0: what a run says goes into a file here, too.
    for n_bytes in some([100, 1000, 3000, 10_000, 30_000, 100_000, 300_000], 1, "lengths"):
        folder = tmp_path / f"{n_bytes}"
        folder.mkdir()
        found = met(folder, attributed, partial(short_files, n_bytes))
        outcomes("files of limited length", f"{n_bytes} bytes", found)


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
def test_a_full_disk_is_one_line(attributed: Path, tmp_path: Path, outcomes: Outcomes) -> None:
    """A file system in memory of so many pages, which then grows."""
    needed = sum(path.stat().st_size for path in attributed.rglob("*") if path.is_file())
    for share in moments(1, 20, "full disk"):
        disk = Mounted(tmp_path / f"{share:.4f}", n_bytes=int(share * needed))
        first, second, wrong = run_on_a_small_disk(ATTRIBUTE, disk, attributed)
        found = judge(first, not wrong)
        if found.kind == "held" and (second.code or wrong):
            found = Outcome("wrong", wrong or second.last)
        outcomes("full disk", f"{disk.n_bytes} of {needed} bytes", found)
