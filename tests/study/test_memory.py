"""Where a card runs out of memory, every stage goes on with half as much at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import saeattr
from saeattr import UserError
from saeattr.model.loading import LanguageModel
from saeattr.model.memory import LiveBytes
from saeattr.runs.memory import MemoryPlan
from saeattr.runs.question import Pace
from saeattr.settings import make_settings
from saeattr.study import carry
from saeattr.study.folder import StudyFolder
from saeattr.study.memory import memory_plan, note_sites, note_stage, within_memory
from saeattr.study.prepare import prepare
from saeattr.study.results import Study

SMALL: dict[str, Any] = {"lists": 3, "max_new_tokens": 20, "kinds": ["attn_z"], "device": "cpu"}
PLAIN: dict[str, Any] = {**SMALL, "max_sites": 1, "validate_top": 0, "figures": False}
LATER: dict[str, Any] = {"top": 2, "generate": True, "generate_features": 1, "figures": False, "device": "cpu"}
#: What each stage of a study says it does.
STEPS = {
    "pairs": "sampling lists",
    "selection": "choosing layers",
    "attribution": "attribution",
    "test_pairs": "fresh lists to test on",
    "validation": "exact effects",
    "generation": "ablation while generating",
}
TABLES = (
    *("pairs", "layer_scores", "attributions", "features", "site_effects"),
    *("test_pairs", "validation", "curves", "generation"),
)


def fits(most: Pace, seen: list[Pace]) -> Callable[[Pace], Pace]:
    """Work that needs no more than ``most`` at a time."""

    def attempt(pace: Pace) -> Pace:
        seen.append(pace)
        if pace.batch_size > most.batch_size or pace.copies > most.copies:
            raise torch.cuda.OutOfMemoryError
        return pace

    return attempt


@pytest.mark.parametrize(
    ("most", "paces"),
    [
        ((16, 32), [(16, 32)]),
        ((8, 32), [(16, 32), (8, 16)]),
        ((16, 5), [(16, 32), (8, 16), (4, 8), (2, 4)]),
        ((1, 1), [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2), (1, 1)]),
    ],
)
def test_batch_and_copies_are_halved_until_the_work_fits(
    lm: LanguageModel, most: tuple[int, int], paces: list[tuple[int, int]]
) -> None:
    seen: list[Pace] = []
    found, pace, _ = within_memory(lm, Pace(16, 32, seed=3), fits(Pace(*most), seen))
    assert seen == [Pace(*each, seed=3) for each in paces]
    assert found == pace == seen[-1]


def test_work_that_never_fits_ends_in_one_line(lm: LanguageModel) -> None:
    seen: list[Pace] = []
    with pytest.raises(UserError, match="cpu has too little memory for one pair at a time: name fewer --sites") as end:
        within_memory(lm, Pace(3, 2), fits(Pace(0, 0), seen))
    assert "\n" not in str(end.value)
    assert seen == [Pace(3, 2), Pace(2, 1), Pace(1, 1)]


def test_what_a_failed_attempt_held_is_let_go_before_the_next(lm: LanguageModel) -> None:
    import weakref

    held: list[weakref.ref[torch.Tensor]] = []

    def attempt(pace: Pace) -> bool:
        if held:
            return held[0]() is None
        kept = torch.zeros(10)
        held.append(weakref.ref(kept))
        raise torch.cuda.OutOfMemoryError

    assert within_memory(lm, Pace(), attempt)[0]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
        torch.OutOfMemoryError(),
    ],
)
def test_a_lack_of_memory_is_known_in_all_its_words(lm: LanguageModel, error: Exception) -> None:
    def attempt(pace: Pace) -> int:
        if pace.batch_size > 2:
            raise error
        return pace.batch_size

    assert within_memory(lm, Pace(8, 8), attempt)[0] == 2


def test_any_other_error_is_not_taken_for_a_lack_of_memory(lm: LanguageModel) -> None:
    def attempt(pace: Pace) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        within_memory(lm, Pace(), attempt)


def whole_study(out: Path, on_progress: Any = lambda *_: None) -> Study:
    """Every stage of a study, in two calls."""
    saeattr.attribute("cities", out=out, on_progress=on_progress, **PLAIN)
    return saeattr.validate(out, on_progress=on_progress, **LATER)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return whole_study(tmp_path_factory.mktemp("whole") / "s")


def read(study: Study, table: str) -> pd.DataFrame:
    frame = pd.read_parquet(study.folder.table_path(table))
    keys = [key for key in ("pair_id", "layer", "kind", "feature", "position") if key in frame]
    return frame.sort_values(keys, ignore_index=True) if table == "attributions" else frame


def test_a_stage_of_each_kind_may_run_out_once_and_all_tables_stay_the_same(whole: Study, tmp_path: Path) -> None:
    failed: set[str] = set()
    told: list[tuple[str, int]] = []

    def once(group: str, step: str, done: int, total: int) -> None:
        told.append((step, done))
        if step in STEPS.values() and step not in failed:
            failed.add(step)
            raise torch.cuda.OutOfMemoryError

    study = whole_study(tmp_path / "s", once)
    assert failed == set(STEPS.values())
    for table in TABLES:
        # Another batch may change the last digits.
        pd.testing.assert_frame_equal(read(study, table), read(whole, table), rtol=1e-3, atol=1e-4)
    noted = json.loads((tmp_path / "s" / "plan.json").read_text(encoding="utf-8"))["groups"]["cities"]
    before = json.loads((whole.folder.root / "plan.json").read_text(encoding="utf-8"))["groups"]["cities"]
    assert before["batch_size"] > 1
    for stage, one in before["stages"].items():
        for what in ("batch_size", "copies"):
            assert noted["stages"][stage][what] == (one[what] + 1) // 2
        assert one["predicted"] > 0
    assert set(noted["measured_peak"]) == {"pairs", "attribution", "test_pairs", "validation", "generation"}


@pytest.mark.parametrize("stage", ["pairs", "selection"])
def test_a_stage_that_never_fits_ends_in_one_line_and_stores_nothing(tmp_path: Path, stage: str) -> None:
    def never(group: str, step: str, done: int, total: int) -> None:
        if step == STEPS[stage]:
            raise torch.cuda.OutOfMemoryError

    with pytest.raises(UserError, match="too little memory for one pair at a time") as end:
        saeattr.attribute("cities", out=tmp_path / "s", on_progress=never, **PLAIN)
    assert "\n" not in str(end.value)
    assert not (tmp_path / "s" / stage).exists()


def test_a_plan_is_of_the_pairs_and_the_budget(lm: LanguageModel) -> None:
    prepared = prepare(make_settings(SMALL))
    free = memory_plan(prepared, 16, 60, lm.device)
    assert free.batch_size == 16
    assert free.budget is None
    assert memory_plan(prepared, 2, 60, lm.device).batch_size == 2
    tight = prepare(make_settings({**SMALL, "vram": str(free.peak - 1)}))
    smaller = memory_plan(tight, 16, 60, lm.device)
    assert smaller.batch_size < 16
    assert smaller.peak <= free.peak - 1
    none = prepare(make_settings({**SMALL, "vram": "1MiB"}))
    with pytest.raises(UserError, match="a budget of 1 MiB is too small: the smallest that works here is"):
        memory_plan(none, 16, 60, lm.device)


def test_more_pairs_that_test_than_rank_are_planned_for(tmp_path: Path, lm: LanguageModel) -> None:
    settings = {**SMALL, "sites": ["mlp_out.4"], "kinds": None}
    study = saeattr.attribute(
        "cities", out=tmp_path / "s", validate_top=1, validate_lists=5, curves=False, figures=False, **settings
    )
    ranking, testing = study.pairs(), study.test_pairs()
    assert len(testing) > len(ranking)
    longest = max(len(ids) for table in (ranking, testing) for ids in table["clean_ids"])
    wanted = memory_plan(prepare(make_settings(settings)), len(testing), longest, lm.device)
    noted = json.loads(study.folder.plan_path.read_text(encoding="utf-8"))["groups"]["cities"]
    assert {name: noted[name] for name in ("captured", "peak")} == {"captured": wanted.captured, "peak": wanted.peak}


def test_plans_of_groups_and_peaks_of_stages_are_noted_beside_each_other(tmp_path: Path, lm: LanguageModel) -> None:
    study, prepared = StudyFolder(tmp_path), prepare(make_settings(SMALL))
    plan = memory_plan(prepared, 3, 60, lm.device)
    note_sites(study, prepared)
    for group, stage, pace, measured in (
        ("cities", "pairs", Pace(16, 8), 5),
        ("cities", "attribution", Pace(3, 8), 10),
        ("rivers", "movers", Pace(2, 8), None),
        ("cities", "validation", Pace(2, 4), 20),
    ):
        note_stage(study, group, plan, stage, pace, measured)
    noted = json.loads(study.plan_path.read_text(encoding="utf-8"))
    cities, rivers = noted["groups"]["cities"], noted["groups"]["rivers"]
    assert cities["measured_peak"] == {"pairs": 5, "attribution": 10, "validation": 20}
    assert cities["stages"]["attribution"] == {
        "predicted": plan.predicted("attribution"),
        "tensors": plan.stages["attribution"].tensors,
        "moment": plan.stages["attribution"].most,
        "measured": 10,
        "batch_size": 3,
        "copies": 8,
    }
    assert (cities["peak"], cities["batch_size"], cities["copies"]) == (plan.peak, 2, 4)
    assert rivers["stages"]["movers"]["predicted"] is None
    assert list(noted["sites"]) == [str(file.site) for file in prepared.saes]


def test_tensors_of_each_stage_are_within_15_percent_of_the_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a small study with the real code; lists are written to their limit of tokens, as the plan assumes."""
    seen: list[int] = []

    def counted(lm: LanguageModel, pace: Pace, attempt: Callable[[Pace], Any]) -> Any:
        weights = list(lm.hf.parameters())
        with LiveBytes(weights) as live:
            done = within_memory(lm, pace, attempt)
        seen.append(live.peak + sum(one.numel() * one.element_size() for one in weights))
        return done

    ratios: dict[str, float] = {}

    def noted(study: StudyFolder, group: str, plan: MemoryPlan, stage: str, pace: Pace, peak: int | None) -> None:
        if stage in plan.stages:
            ratios[stage] = plan.stages[stage].tensors / seen[-1]

    monkeypatch.setattr(carry, "within_memory", counted)
    monkeypatch.setattr(carry, "note_stage", noted)
    settings: dict[str, Any] = {"lists": 8, "max_new_tokens": 24, "device": "cpu", "figures": False}
    saeattr.entropy("cities", out=tmp_path / "s", **settings)
    saeattr.lens("cities", out=tmp_path / "s", **settings)
    saeattr.attribute("cities", out=tmp_path / "s", validate_top=5, layers="all", **settings)
    assert set(ratios) == {"pairs", "entropy", "lens", "attribution", "test_pairs", "validation"}
    assert ratios == pytest.approx(dict.fromkeys(ratios, 1.0), abs=0.15)
