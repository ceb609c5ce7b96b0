"""An interrupted validation goes on at the next feature, and gives what an uninterrupted one gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from saeattr.errors import UserError
from saeattr.runs.metric import METRICS
from saeattr.runs.question import Pace, Question
from saeattr.study.validation import discard_partial, validate_group
from saeattr.validation.group import Estimates, ValidationPlan, ValidationTables
from saeattr.validation.site import SiteTest
from tests.validation.validated import SMALL, attributed

WANTED = dataclasses.replace(SMALL, longest_curve=0)


def run(partial: Path | None, wanted: ValidationPlan = WANTED, **changes: Any) -> ValidationTables:
    """With parts of the task changed."""
    found = attributed()
    task = dataclasses.replace(found.task(), **changes)
    return validate_group(task, Estimates(found.features, found.tables.attributions), wanted, partial)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The features that are measured, in order."""
    seen: list[int] = []
    measure = SiteTest.measure

    def counted(self: SiteTest, feature: int) -> pd.DataFrame:
        seen.append(feature)
        return measure(self, feature)

    monkeypatch.setattr(SiteTest, "measure", counted)
    return seen


def interrupt_after(count: int):
    def on_step(stage: str, done: int, total: int) -> None:
        if stage == "exact effects" and done == count:
            raise KeyboardInterrupt

    return on_step


def test_it_goes_on_at_the_next_feature(tmp_path: Path, measured: list[int]) -> None:
    whole = run(None)
    order = measured.copy()
    measured.clear()
    for count in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "partial", on_step=interrupt_after(count))
    assert measured == order[:4]
    resumed = run(tmp_path / "partial")
    assert measured == order
    for name in ("validation", "compared", "agreement", "exact"):
        pd.testing.assert_frame_equal(getattr(resumed, name), getattr(whole, name), check_exact=True)
    discard_partial(tmp_path / "partial")
    assert not (tmp_path / "partial").exists()
    discard_partial(tmp_path / "partial")


def test_another_pace_takes_it_up_and_another_base_does_not(tmp_path: Path, measured: list[int]) -> None:
    run(tmp_path)
    measured.clear()
    run(tmp_path, pace=Pace(batch_size=2, copies=3))
    assert measured == []
    run(tmp_path, question=Question(base="zero"))
    assert len(measured) == WANTED.top
    assert len(list(tmp_path.glob("exact-*.parquet"))) == 2


@pytest.mark.parametrize("change", ["fewer pairs", "metric", "decision"])
def test_another_question_or_other_pairs_do_not_take_it_up(tmp_path: Path, measured: list[int], change: str) -> None:
    run(tmp_path)
    measured.clear()
    changes: dict[str, Any] = {
        "fewer pairs": {"pairs": attributed().pairs[:-1]},
        "metric": {"question": Question(METRICS["neg-log-prob"])},
        "decision": {"question": Question(decision="all")},
    }[change]
    run(tmp_path, **changes)
    assert len(measured) == WANTED.top


@pytest.mark.parametrize("changes", [{"positions": "single"}, {"n_controls": 2}, {"top": 2}])
def test_another_validation_measures_anew(tmp_path: Path, measured: list[int], changes: dict[str, object]) -> None:
    run(tmp_path)
    measured.clear()
    wanted = dataclasses.replace(WANTED, **changes)  # pyright: ignore[reportArgumentType]
    again = run(tmp_path, wanted=wanted)
    assert len(measured) == wanted.top
    pd.testing.assert_frame_equal(again.exact, run(None, wanted=wanted).exact)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    run(tmp_path)
    (path,) = tmp_path.glob("exact-*.parquet")
    path.write_bytes(b"no table")
    with pytest.raises(UserError, match="is not a readable Parquet file"):
        run(tmp_path)
