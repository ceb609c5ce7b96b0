"""A run that is ended at any step, at any moment and by any signal: the same command ends with the same study."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest

from tests.faults.children import run
from tests.faults.chosen import kinds, moments, some
from tests.faults.conftest import Outcomes
from tests.faults.injected import log_steps, signal_after, signal_at
from tests.faults.outcome import Outcome, Run, judge
from tests.faults.studies import ATTRIBUTE, DRAWN, STUDY, difference

#: What is ended: stages of two topics, figures and page of one, every stage there is.
COMMANDS = {"attributed": ATTRIBUTE, "drawn": DRAWN, "studied": (*STUDY, "--no-figures")}
#: How many of all steps and moments are tried of each.
STEPS, MOMENTS = {"attributed": 40, "drawn": 10, "studied": 10}, {"attributed": 50, "drawn": 10, "studied": 10}
#: Signals that a shell, a scheduler or a closed terminal sends.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def again(command: Sequence[str], folder: Path, whole: Path) -> Outcome:
    """What the same command makes of what is there."""
    done = run(command, folder)
    wrong = difference(folder / "s", whole) if done.code == 0 else ""
    found = judge(done, not wrong)
    return Outcome("wrong", wrong) if wrong else Outcome("traceback", found.why) if done.code else found


def ended(done: Run, by: int) -> Outcome | None:
    """What is wrong with how a run ended that got a signal; None where nothing is."""
    if done.code is None:
        return Outcome("hang", done.last)
    if "Traceback" in done.told:
        return Outcome("traceback", f"after {signal.Signals(by).name}: {done.last}")
    return None


@dataclass(frozen=True)
class Taken:
    """A run without faults: what it does on the disk, in order, how many seconds it takes, and what it makes."""

    steps: list[str]
    seconds: float
    whole: Path


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Taken]:
    @cache
    def find(name: str) -> Taken:
        folder = tmp_path_factory.mktemp(name)
        done = run(COMMANDS[name], folder, partial(log_steps, folder / "s", folder / "steps"))
        assert done.code == 0, done.told
        steps = (folder / "steps").read_text(encoding="utf-8").splitlines()
        return Taken(steps, done.seconds, folder / "s")

    return find


@pytest.mark.parametrize("name", kinds(COMMANDS, ["attributed"]))
def test_a_run_killed_at_a_step_on_the_disk_is_completed_by_the_next(
    name: str, taken: Callable[[str], Taken], tmp_path: Path, outcomes: Outcomes
) -> None:
    """Every table, page and figure appears by a rename: before and after each of them."""
    known = taken(name)
    renamed = [nth for nth, line in enumerate(known.steps) if line.startswith("os.rename ")]
    around = sorted({*renamed, *(nth + 1 for nth in renamed if nth + 1 < len(known.steps))})
    for nth in some(around, 1, name, STEPS[name]):
        folder = new(tmp_path / f"{nth}")
        run(COMMANDS[name], folder, partial(signal_at, folder / "s", nth))
        outcomes("killed at a step", f"{name}, {known.steps[nth]}", again(COMMANDS[name], folder, known.whole))


@pytest.mark.parametrize("name", kinds(COMMANDS, ["attributed"]))
def test_a_run_killed_at_any_moment_is_completed_by_the_next(
    name: str, taken: Callable[[str], Taken], tmp_path: Path, outcomes: Outcomes
) -> None:
    known = taken(name)
    for share in moments(1, MOMENTS[name], name):
        folder = new(tmp_path / f"{share:.4f}")
        run(COMMANDS[name], folder, partial(signal_after, share * known.seconds))
        what = f"{name}, at {share:.2f} of its time"
        outcomes("killed at a moment", what, again(COMMANDS[name], folder, known.whole))


@pytest.mark.parametrize("number", kinds(SIGNALS, [signal.SIGTERM]), ids=lambda number: signal.Signals(number).name)
def test_a_run_that_gets_a_signal_says_a_line_at_most_and_is_completed_by_the_next(
    number: int, taken: Callable[[str], Taken], tmp_path: Path, outcomes: Outcomes
) -> None:
    known = taken("attributed")
    for share in moments(1, 10, signal.Signals(number).name):
        folder = new(tmp_path / f"{share:.4f}")
        done = run(ATTRIBUTE, folder, partial(signal_after, share * known.seconds, number))
        wrong = ended(done, number)
        what = f"{signal.Signals(number).name} at {share:.2f} of its time"
        outcomes("signals", what, wrong or again(ATTRIBUTE, folder, known.whole))


def test_two_kills_in_a_row_lose_nothing(taken: Callable[[str], Taken], tmp_path: Path, outcomes: Outcomes) -> None:
    known = taken("attributed")
    for nth, shares in enumerate(zip(moments(1, 10, "first"), moments(1, 10, "second"), strict=True)):
        folder = new(tmp_path / f"{nth}")
        for share in shares:
            run(ATTRIBUTE, folder, partial(signal_after, share * known.seconds))
        what = "at {:.2f} and {:.2f} of its time".format(*shares)
        outcomes("killed twice", what, again(ATTRIBUTE, folder, known.whole))


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder
