"""An interrupted validation goes on where it stopped; joined groups are judged together."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.behaviours.pair import Pair, distinct_pairs
from saeattr.errors import UserError
from saeattr.runs.kept import RunStore
from saeattr.runs.metric import METRICS
from saeattr.runs.question import Pace, Question
from saeattr.study.folder import StudyFolder
from saeattr.study.stage import Outcome
from saeattr.study.validation import Validation, discard_partial, power_of, stored_parts
from saeattr.tables import VALIDATION
from saeattr.validation.begin import GroupInput, ValidationPlan
from saeattr.validation.evidence import Estimates
from saeattr.validation.group import ValidationTables, validate_groups
from saeattr.validation.site import SiteTest
from saeattr.validation.verdicts import judge
from tests.validation.validated import SMALL, attributed

WANTED = dataclasses.replace(SMALL, longest_curve=0)


def run(partial: Path | None, wanted: ValidationPlan = WANTED, **changes: Any) -> ValidationTables:
    """With parts of the task changed, the pairs that test too (``fresh``; None for halves)."""
    found = attributed()
    fresh = changes.pop("fresh", None)
    task = dataclasses.replace(found.task(), **changes)
    group = GroupInput(task, Estimates(found.features, found.tables.attributions), wanted, fresh)
    parts = group.parts if partial is None else stored_parts(group, partial)
    return next(validate_groups([dataclasses.replace(group, parts=parts)], RunStore()))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is measured, in order: kind of evidence, and the feature (the first of several)."""
    seen: list[tuple[str, int]] = []
    natural, along = SiteTest.natural, SiteTest.along

    def counted_natural(self: SiteTest, features: Sequence[int]) -> pd.DataFrame:
        seen.append((self.evidence, features[0]))
        return natural(self, features)

    def counted_along(self: SiteTest, feature: int, directions: Sequence[int]) -> pd.DataFrame:
        # ``natural`` may ask for single features.
        if self.evidence == "test":
            seen.append((self.evidence, feature))
        return along(self, feature, directions)

    monkeypatch.setattr(SiteTest, "natural", counted_natural)
    monkeypatch.setattr(SiteTest, "along", counted_along)
    return seen


def interrupt_after(count: int):
    def on_step(stage: str, done: int, total: int) -> None:
        if stage == "exact effects" and done == count:
            raise KeyboardInterrupt

    return on_step


@functools.cache
def other_pairs() -> list[Pair]:
    """Pairs of the same topic that are none of those that rank."""
    found = attributed()
    pairs, _ = make_pairs(found.lm.tokenizer, sample_lists(found.lm, "animals", Sampling(4, seed=9)))
    return distinct_pairs(pairs, found.pairs)


def n_sites(table: pd.DataFrame) -> int:
    return len(table[["layer", "kind"]].drop_duplicates())


def test_it_goes_on_at_the_next_feature(tmp_path: Path, measured: list[tuple[str, int]]) -> None:
    whole = run(None)
    order = measured.copy()
    sites, tested = n_sites(whole.validation), len(whole.exact.query("evidence == 'test' and along == feature"))
    assert [kind for kind, _ in order[:sites]] == ["ranking"] * sites
    assert len(order) > sites + 4
    # A feature that both halves rank is tested in each.
    assert sum(whole.validation["n_pairs"]) == tested
    measured.clear()
    for count in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "partial", on_step=interrupt_after(count))
    assert measured == order[: sites + 4]
    resumed = run(tmp_path / "partial")
    assert measured == order
    for name in ("validation", "compared", "agreement", "exact"):
        pd.testing.assert_frame_equal(getattr(resumed, name), getattr(whole, name), check_exact=True)
    assert resumed.power == whole.power
    discard_partial(tmp_path / "partial")
    assert not (tmp_path / "partial").exists()
    discard_partial(tmp_path / "partial")


def test_fresh_pairs_are_gone_on_with_and_other_ones_are_not(tmp_path: Path, measured: list[tuple[str, int]]) -> None:
    drawn = other_pairs()
    whole = run(None, fresh=drawn)
    measured.clear()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, fresh=drawn, on_step=interrupt_after(2))
    done = len(measured)
    resumed = run(tmp_path, fresh=drawn)
    assert len(measured) == done + WANTED.top - 2
    pd.testing.assert_frame_equal(resumed.exact, whole.exact, check_exact=True)
    measured.clear()
    run(tmp_path, fresh=drawn[:-1])
    assert [kind for kind, _ in measured].count("test") == WANTED.top


def test_another_pace_takes_it_up_and_another_base_does_not(tmp_path: Path, measured: list[tuple[str, int]]) -> None:
    run(tmp_path)
    measured.clear()
    run(tmp_path, pace=Pace(batch_size=2, copies=3))
    assert measured == []
    run(tmp_path, question=Question(base="zero"))
    again = measured.copy()
    measured.clear()
    run(None, question=Question(base="zero"))
    assert again == measured != []
    assert len(list(tmp_path.glob("exact-*.parquet"))) == 2


@pytest.mark.parametrize("change", ["fewer pairs", "metric", "decision", "seed"])
def test_another_question_seed_or_other_pairs_do_not_take_it_up(
    tmp_path: Path, measured: list[tuple[str, int]], change: str
) -> None:
    run(tmp_path)
    measured.clear()
    changes: dict[str, Any] = {
        "fewer pairs": {"pairs": attributed().pairs[:-1]},
        "metric": {"question": Question(METRICS["neg-log-prob"])},
        "decision": {"question": Question(decision="all")},
        # It draws the controls.
        "seed": {"pace": Pace(batch_size=4, seed=1)},
    }[change]
    found = run(tmp_path, **changes)
    again = measured.copy()
    measured.clear()
    anew = run(None, **changes)
    assert again == measured
    pd.testing.assert_frame_equal(found.exact, anew.exact, check_exact=True)


@pytest.mark.parametrize("changes", [{"positions": "single"}, {"n_controls": 2}, {"top": 2}])
def test_another_validation_measures_anew(
    tmp_path: Path, measured: list[tuple[str, int]], changes: dict[str, object]
) -> None:
    run(tmp_path)
    measured.clear()
    wanted = dataclasses.replace(WANTED, **changes)  # pyright: ignore[reportArgumentType]
    again = run(tmp_path, wanted=wanted)
    anew = measured.copy()
    assert anew
    measured.clear()
    pd.testing.assert_frame_equal(again.exact, run(None, wanted=wanted).exact)
    assert measured == anew


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    run(tmp_path)
    (path,) = tmp_path.glob("exact-*.parquet")
    path.write_bytes(b"no table")
    with pytest.raises(UserError, match="is not a readable Parquet file"):
        run(tmp_path)


def validated(group: str, p_values: list[float]) -> pd.DataFrame:
    """Features of which only the q-value decides whether they are causal."""
    numbers: dict[str, Any] = {
        **{"group": group, "layer": 3, "kind": "mlp_out", "feature": range(len(p_values)), "p_value": p_values},
        **{"effect_mean": -2.0, "effect_median": -2.0, "effect_low": -3.0, "effect_high": -1.0},
        **{"exact_mean": -2.0, "exact_median": -2.0, "exact_low": -3.0, "exact_high": -1.0, "n_pairs": 10},
        **{"gap": -8.0, "share": 0.25, "smallest": 0.01},
        **{"control_median": 0.1, "control_high": 0.2, "n_controls": 39, "n_as_strong": 0, "natural_share": 0.0},
    }
    return VALIDATION.frame(judge(pd.DataFrame(numbers)))


def store(study: StudyFolder, group: str, p_values: list[float]) -> None:
    stage = Validation()
    empty = {table.name: table.empty() for table in (*stage.joined, *stage.kept)}
    stage.write(study, group, Outcome({**empty, "validation": validated(group, p_values)}))


def by_hand(p_values: list[float]) -> list[float]:
    """Benjamini and Hochberg (1995), as they state it: the least level at which each is rejected."""
    n = len(p_values)
    ordered = sorted(p_values)
    return [min(min(1.0, q * n / (nth + 1)) for nth, q in enumerate(ordered) if q >= p) for p in p_values]


def test_q_values_answer_for_all_groups_and_another_group_changes_those_of_the_first(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    first, second = [0.02, 0.001, 0.04], [0.9, 0.8, 0.7, 0.6]
    store(study, "cities", first)
    Validation.join(study, ["cities"])
    alone = Validation.read(study, VALIDATION, "cities")
    assert alone["q_value"].tolist() == pytest.approx(by_hand(first))
    assert alone["verdict"].tolist() == ["causal"] * 3
    store(study, "rivers", second)
    Validation.join(study, ["cities", "rivers"])
    whole = Validation.read(study, VALIDATION)
    assert whole["p_value"].tolist() == [*first, *second]
    assert whole["q_value"].tolist() == pytest.approx(by_hand([*first, *second]))
    assert whole["q_value"].tolist() == pytest.approx([0.07, 0.007, 0.28 / 3, 0.9, 0.9, 0.9, 0.9])
    now = Validation.read(study, VALIDATION, "cities")
    pd.testing.assert_frame_equal(now, whole.head(3))
    assert now["verdict"].tolist() == ["not shown", "causal", "not shown"]
    # A second join finds nothing to do.
    before = study.table_path("validation").read_bytes()
    Validation.join(study, ["cities", "rivers"])
    assert study.table_path("validation").read_bytes() == before


def test_a_join_that_was_interrupted_before_it_judged_is_judged_by_the_next(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    for group, p_values in (("cities", [0.02, 0.001]), ("rivers", [0.5, 0.6])):
        store(study, group, p_values)
    # As every stage joins: each group's own q-values still.
    super(Validation, Validation).join(study, ["cities", "rivers"])
    assert Validation.read(study, VALIDATION)["q_value"].tolist() == pytest.approx([0.02, 0.002, 0.6, 0.6])
    Validation.join(study, ["cities", "rivers"])
    assert Validation.read(study, VALIDATION)["q_value"].tolist() == pytest.approx([0.04, 0.004, 0.6, 0.6])


def test_a_study_without_any_tested_feature_joins_to_no_rows(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    stage = Validation()
    stage.write(study, "cities", Outcome({table.name: table.empty() for table in (*stage.joined, *stage.kept)}))
    Validation.join(study, ["cities"])
    assert Validation.read(study, VALIDATION).empty
    assert Validation.read(study, VALIDATION, "cities").empty
    assert power_of(study, "cities") == ""
