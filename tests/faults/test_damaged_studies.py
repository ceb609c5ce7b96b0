"""Every file of a study folder damaged in every way: the same command, and those that read, give what they gave
before, or say in one line what is wrong; no number is another one unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.faults.children import run
from tests.faults.chosen import SHARE, kinds, some
from tests.faults.conftest import Outcomes
from tests.faults.file_damage import DAMAGES, files, like_of_another_group, swapped_with
from tests.faults.outcome import Outcome, judge
from tests.faults.studies import ATTRIBUTE, STUDY, copied, difference, digest, made

GROUPS = ("cities", "rivers")
OF_A_GROUP, OF_A_STUDY = "swapped with another group's", "swapped with another study's"
#: What is damaged: every stage with figures and page, or in the few cases of ``make test`` what is there soonest.
WHOLE = STUDY if SHARE else ATTRIBUTE
#: The same command again: what was not damaged is not drawn again.
AGAIN = (*WHOLE, "--no-figures") if SHARE else WHOLE
NAMES = kinds([*DAMAGES, OF_A_GROUP, OF_A_STUDY], ["flipped in the middle", "a pipe"])
#: Commands that read a study; one is tried on each case, in turn.
READING: dict[str, tuple[str, ...]] = {
    "report": ("report", "s", "--no-model"),
    "overlap": ("overlap", "s"),
    "look": ("look", "--study", "s"),
    "inspect": ("inspect", "s", "--no-network"),
    "compare": ("compare", "s", "s", "--out", "compared", "--no-figures"),
    "validate": ("validate", "s", "--top", "2", "--no-figures"),
}


@dataclass(frozen=True)
class Healthy:
    """A study without faults, one of another seed, and what each reading command gives of the first."""

    whole: Path
    other: Path
    given: dict[str, str]


def given(name: str, folder: Path, said: str) -> str:
    """What a reading command gave: its words, and the page or the tables that it wrote.

    One that goes on with a study says besides what it found damaged, and made again.
    """
    written = {
        "report": ["s/report.html"],
        "compare": ["compared/*.parquet"],
        "validate": ["s/validation.parquet", "s/validation/*/*.parquet"],
    }
    paths = [path for pattern in written.get(name, ()) for path in sorted(folder.glob(pattern)) if path.is_file()]
    return "\n".join([said if name != "validate" else "", *map(digest, paths)])


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Healthy:
    whole = made(tmp_path_factory.mktemp("whole"), WHOLE)
    other = made(tmp_path_factory.mktemp("other"), (*AGAIN, "--seed", "1"))
    found = {}
    for name, command in READING.items():
        folder = tmp_path_factory.mktemp(name)
        copied(whole, folder)
        done = run(command, folder)
        assert done.code == 0, (name, done.told)
        found[name] = given(name, folder, done.said)
    return Healthy(whole, other, found)


def damaged(healthy: Healthy, name: str) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    """Every file to which a damage can come, and what is done to it."""
    found = files(healthy.whole)
    # Pictures are all alike, and nothing is computed from them.
    pictures = [file for file in found if file.parts[0] == "figures"]
    for file in [file for file in found if file not in pictures[2:]]:
        if name in DAMAGES:
            yield file, DAMAGES[name]
            continue
        like = healthy.other / file if name == OF_A_STUDY else like_of_another_group(healthy.whole, file, GROUPS)
        if like is not None and like.is_file():
            yield file, partial(swapped_with, other=like)


def again(folder: Path, whole: Path) -> Outcome:
    """The same command; where it refuses in one line that says what to delete, that is enough."""
    done = run(AGAIN, folder)
    wrong = difference(folder / "s", whole, figures=False) if done.code == 0 else ""
    found = judge(done, not wrong)
    return Outcome("wrong", wrong) if found.kind == "wrong" else found


def read(name: str, folder: Path, healthy: Healthy) -> Outcome:
    """A reading command; what it gives of a damaged study is what it gave before, or a line that says why not."""
    done = run(READING[name], folder)
    return judge(done, given(name, folder, done.said) == healthy.given[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_study_is_completed_or_refused_in_one_line(
    name: str, healthy: Healthy, tmp_path: Path, outcomes: Outcomes
) -> None:
    for nth, (file, damage) in enumerate(some(list(damaged(healthy, name)), 1, f"again {name}", 18)):
        folder = tmp_path / f"{nth}"
        damage(copied(healthy.whole, folder) / file)
        outcomes(f"study file {name}", f"{file}, the same command", again(folder, healthy.whole))


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_study_is_read_as_it_was_or_refused_in_one_line(
    name: str, healthy: Healthy, tmp_path: Path, outcomes: Outcomes
) -> None:
    for nth, (file, damage) in enumerate(some(list(damaged(healthy, name)), 1, f"read {name}", 18)):
        folder, reading = tmp_path / f"{nth}", list(READING)[nth % len(READING)]
        damage(copied(healthy.whole, folder) / file)
        outcomes(f"study file {name}", f"{file}, {reading}", read(reading, folder, healthy))
