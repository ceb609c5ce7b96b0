"""The estimate of time: sums that were done by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import saeattr
from saeattr.errors import UserError
from saeattr.model.shapes import ModelShape
from saeattr.runs import speed as speeds
from saeattr.runs.memory import MemoryPlan
from saeattr.runs.needs import Load
from saeattr.runs.speed import Speed
from saeattr.saes.formats import SaeFile
from saeattr.settings import make_settings
from saeattr.sites import Site
from saeattr.study import duration, workload
from saeattr.study.duration import Duration, Part
from saeattr.study.outlook import named_outlook
from saeattr.study.timing import outlook_duration
from saeattr.study.workload import Plan, layer_flops, shapes_of, study_parts
from saeattr.validation.controls import CONTROLS
from saeattr.validation.ranking import NATURAL

#: 2 layers of width 4, MLPs of 10, 2 heads of 3 on one of keys and values, 50 tokens.
SHAPE = ModelShape("gemma2", 2, 4, 2, 1, 3, 10, 50, 100)
MEMORY = MemoryPlan(4, 1000, 0, 0, 0, 0, 0, 0, None, 32, 0)
SPEED = Speed("cpu", "float32", 1e3, 1e2, 1e1, 2e3, 50.0, False, None, 600.0)
SAES = [SaeFile(Site("resid_post", 0), Path("a"), 4, 8), SaeFile(Site("mlp_out", 1), Path("b"), 4, 16)]


def plan(drawn: bool = False, offered: int = 0, **settings: Any) -> Plan:
    return Plan(SHAPE, make_settings(settings), Load(10, 40), MEMORY, SAES, offered, drawn)


def parts(**settings: Any) -> dict[str, Part]:
    return {part.name: part for part in study_parts(plan(**settings))}


def test_a_layers_products() -> None:
    # A token: queries and output 2 x 4 x 6, keys and values 2 x 4 x 3, three matrices of 4 x 10; twice for FLOPs.
    # Scores and values: 2 x 2 x 6 with each of 7 tokens.
    assert layer_flops(SHAPE, 5, 7) == 5 * (2 * (48 + 24 + 120) + 4 * 7 * 6)
    ungated = dataclasses.replace(SHAPE, model_type="gpt2")
    assert layer_flops(SHAPE, 5, 7) - layer_flops(ungated, 5, 7) == 5 * 2 * 40


def test_attribution_runs_every_pair_three_times_and_reads_every_sae_once() -> None:
    found = parts(validate_top=0)
    assert list(found) == [
        "loading the model",
        "forward and backward",
        "reading and encoding SAEs",
        "checks of whole sites",
    ]
    runs, saes, checks = list(found.values())[1:]
    assert runs.prompts == 3 * 2 * layer_flops(SHAPE, 400, 40)
    # Ten pairs in batches of four, each two layers in three passes.
    assert runs.layers == 3 * 3 * 2
    # 34 of 40 tokens are affected, of the clean and the corrupted run, 2 x 4 x (8 + 16) FLOPs each.
    assert saes.encoding == 2 * 10 * 34 * 2 * 4 * (8 + 16)
    assert saes.n_bytes == sum(4 * (2 * 4 * n + 2 * n + 4) for n in (8, 16))
    # Above resid_post.0 one layer, with mlp_out.1 its own; the residual site is patched by no forward of its own.
    assert checks.layers == 1 + 2 * 1
    assert checks.copies == 3 * layer_flops(SHAPE, 3 * 40, 40)
    zero = parts(validate_top=0, base="zero")["checks of whole sites"]
    assert zero.layers == 2 * 2


def test_integrated_gradients_run_the_layers_above_for_each_step() -> None:
    found = parts(method="ig", ig_steps=5, validate_top=0)["steps to the base"]
    assert found.prompts == 2 * 5 * 2 * layer_flops(SHAPE, 400, 40)
    assert found.layers == 2 * 5 * 2 * 3


def test_validation_patches_each_feature_and_its_controls_in_each_pair() -> None:
    found = parts(validate_top=6, controls=19)
    tests, curves = found["exact effects and controls"], found["many features together"]
    # Half of two layers lie above; of the last one little runs, so its FLOPs are none, and the forwards are counted.
    assert tests.copies == 0
    assert tests.layers == 6 * 1 * 7
    # resid_post.0 is the lowest site: both layers, 94 sets in ten pairs, 34 tokens each.
    assert curves.copies == 2 * layer_flops(SHAPE, 940 * 34, 40)
    assert curves.layers == 2 * 30
    deeper = dataclasses.replace(plan(validate_top=6, controls=19), shape=dataclasses.replace(SHAPE, n_layers=6))
    tests = next(part for part in study_parts(deeper) if part.name == "exact effects and controls")
    assert tests.copies == 6 * 2 * layer_flops(SHAPE, 200 * 24, 40)
    assert "many features together" not in parts(validate_top=6, curves=False)


def test_lists_are_written_where_the_model_writes_them() -> None:
    written = [part for part in study_parts(plan(drawn=True)) if part.writing]
    assert [part.stage for part in written] == ["pairs", "test_pairs"]
    # Eight tokens behind a request of 32, two rows a list, and 50 tokens' logits.
    assert written[0].writing == 2 * 10 * 8 * (2 * layer_flops(SHAPE, 1, 40) + 2 * 4 * 50)
    assert not [part for part in study_parts(plan(drawn=False)) if part.writing]


def test_sites_are_scored_only_where_none_are_named() -> None:
    assert "selection" in {part.stage for part in study_parts(plan(offered=6))}
    assert "selection" not in {part.stage for part in study_parts(plan())}


def test_seconds_are_amounts_by_rates() -> None:
    part = Part("attribution", "all", prompts=2e3, copies=3e2, writing=4e1, encoding=1e4, n_bytes=300, layers=3)
    assert part.seconds(SPEED) == 2 + 3 + 4 + 5 + 6 + 3 * duration.OPERATIONS / 600
    card = dataclasses.replace(SPEED, copying=100.0)
    assert part.seconds(card) == part.seconds(SPEED) + 3
    both = Duration(10, (part, part), SPEED)
    assert both.seconds == both.of_stage("attribution") == 2 * part.seconds(SPEED)
    assert part.rests_on(SPEED).startswith("2.34e+03 FLOP of the model, 300 B of files")


def test_what_is_measured_are_the_plans_shapes() -> None:
    found = shapes_of(plan())
    assert (found.n_layers, found.d_model, found.d_mlp) == (2, 4, 10)
    assert (found.tokens, found.copied, found.rows) == (4 * 40, 32 * 24, 2 * 4)
    assert (found.encoded, found.d_in, found.d_sae) == (4 * 34, 4, 16)


def test_what_is_assumed_here_is_what_the_stages_do() -> None:
    assert workload.NATURAL == NATURAL
    assert make_settings({}).controls == CONTROLS


def test_a_plan_from_python_has_an_estimate_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[torch.device, torch.dtype]] = []

    def measured(device: torch.device, dtype: torch.dtype, shapes: object, folder: Path | None) -> Speed:
        asked.append((device, dtype))
        return SPEED

    monkeypatch.setattr("saeattr.study.timing.measure_speed", measured)
    settings = {"device": "cpu", "n_pairs": 3, "sites": ["resid_post.2"]}
    assert saeattr.plan("cities", **settings).duration is None
    assert not asked
    found = saeattr.plan("cities", measure=True, **settings)
    assert asked == [(torch.device("cpu"), torch.float32)]
    assert found.duration is not None
    assert found.duration.n_pairs == 3
    assert found.duration.seconds > 0
    assert {part.stage for part in found.duration.parts} == {
        "start",
        "pairs",
        "attribution",
        "test_pairs",
        "validation",
    }


def test_a_plan_of_a_card_is_not_timed_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(speeds, "AT_LEAST", 0.0)
    found = named_outlook(make_settings({"model": "gemma-2-2b-it", "vram": "15GiB"}))
    assert found is not None
    with pytest.raises(UserError, match="has no card, and the plan is of one"):
        outlook_duration(found)
