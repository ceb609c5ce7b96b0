"""Every setting reaches the work it is meant for: a study with none at its default, beside direct computations."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import saeattr
from saeattr import UserError
from saeattr.attribution.group import GroupTables, attribute_group
from saeattr.behaviours.lists.pairs import ListRequest, make_pairs
from saeattr.behaviours.lists.sampling import sample_lists
from saeattr.behaviours.pair import Pair, distinct_pairs
from saeattr.generation.ablation import Ablation, Sampling, generate_conditions
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import SiteBase
from saeattr.runs.metric import LOGIT_DIFFERENCE, find_metric
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.sites import Site
from saeattr.study.generation import Generating
from saeattr.study.pairs import TEST_SEED
from saeattr.study.results import Study
from saeattr.validation.group import Estimates, ValidationPlan, ValidationTables, validate_features

SITE = Site("resid_post", 2)
SMALL: dict[str, Any] = {"lists": 6, "sites": [str(SITE)], "figures": False, "device": "cpu"}
SAMPLING: dict[str, Any] = {"seed": 7, "temperature": 1.5, "top_p": 0.6, "max_new_tokens": 20}
DEFAULT_SAMPLING: dict[str, Any] = {"seed": 0, "temperature": 0.8, "top_p": 0.9, "max_new_tokens": 200}
QUESTION: dict[str, Any] = {"metric": "neg-log-prob", "decision": "all", "base": "zero", "method": "ig", "ig_steps": 2}
DEFAULT_QUESTION: dict[str, Any] = {
    **{"metric": "end-vs-continue", "decision": "last", "base": "corrupted"},
    **{"method": "attribution", "ig_steps": 10},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("settings") / "s"
    return saeattr.attribute("cities", out=out, validate_top=2, **SMALL, **SAMPLING, **QUESTION)


@pytest.fixture(scope="module")
def study_pairs(lm: LanguageModel) -> list[Pair]:
    return make_pairs(lm.tokenizer, sample_lists(lm, "cities", Sampling(6, **SAMPLING)))[0]


def task_of(lm: LanguageModel, file: SaeFile, pairs: list[Pair], **changes: Any) -> Task:
    """The study's work, with some parts of its question (or the seed) changed."""
    asked = {**QUESTION, "seed": SAMPLING["seed"], **changes}
    pace = Pace(seed=asked.pop("seed"))
    # What the behaviour calls end-vs-continue is the difference of the two logits in each decision point.
    metric = LOGIT_DIFFERENCE if asked["metric"] == "end-vs-continue" else find_metric(asked["metric"])
    return Task(lm, pairs, [file], Question(**{**asked, "metric": metric}), pace)


def directly(lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], **changes: Any) -> GroupTables:
    return attribute_group(task_of(lm, saes[SITE], pairs, **changes))


def test_the_lists_are_those_that_these_settings_give(study: Study, lm: LanguageModel) -> None:
    def token_ids(**changes: Any) -> list[list[int]]:
        return [list(one.token_ids) for one in sample_lists(lm, "cities", Sampling(6, **{**SAMPLING, **changes}))]

    stored = study.lists()["token_ids"]
    assert [list(ids) for ids in stored] == token_ids()
    for name, value in DEFAULT_SAMPLING.items():
        assert token_ids(**{name: value}) != token_ids(), name


def test_the_effects_are_those_of_the_question_that_was_asked(
    study: Study, lm: LanguageModel, saes: dict[Site, SaeFile], study_pairs: list[Pair]
) -> None:
    found = directly(lm, saes, study_pairs)
    pd.testing.assert_frame_equal(study.attributions("cities"), found.attributions)
    pd.testing.assert_frame_equal(study.features("cities"), found.features)
    pd.testing.assert_frame_equal(study.site_effects("cities"), found.site_effects)
    pd.testing.assert_frame_equal(study.metric_by_point("cities"), found.metric_by_point)
    total = found.attributions["effect"].sum()
    for name, value in DEFAULT_QUESTION.items():
        other = directly(lm, saes, study_pairs, **{name: value}).attributions["effect"].sum()
        assert not math.isclose(other, total, rel_tol=1e-3), name


def test_relevance_patching_of_a_contrast_is_what_is_asked_for(
    tmp_path: Path, lm: LanguageModel, saes: dict[Site, SaeFile]
) -> None:
    asked: dict[str, Any] = {"contrast": (" Paris", " Tokyo"), "method": "relp", "base": "mean"}
    study = saeattr.attribute("cities", out=tmp_path / "s", validate_top=0, **SMALL, **asked)
    assert study.metric_label == "logit(' Paris') - logit(' Tokyo')"
    paris, tokyo = (lm.tokenizer.encode(text, add_special_tokens=False)[0] for text in asked["contrast"])
    lists = sample_lists(lm, "cities", Sampling(6))
    pairs = make_pairs(lm.tokenizer, lists, ListRequest((paris, tokyo)))[0]
    asked_for = Question(base="mean", method="relp")
    found = attribute_group(Task(lm, pairs, [saes[SITE]], asked_for)).attributions
    pd.testing.assert_frame_equal(study.attributions("cities"), found)
    for change in ({"base": "corrupted"}, {"method": "attribution"}):
        other = attribute_group(Task(lm, pairs, [saes[SITE]], dataclasses.replace(asked_for, **change))).attributions
        assert not math.isclose(other["effect"].sum(), found["effect"].sum(), rel_tol=1e-3)


def validated_directly(
    study: Study, lm: LanguageModel, file: SaeFile, pairs: list[Pair], wanted: ValidationPlan, **changes: Any
) -> ValidationTables:
    """The study's validation, from its stored attributions, on lists of the seed that tests."""
    estimates = Estimates(study.features("cities"), study.attributions("cities"))
    drawn = sample_lists(lm, "cities", Sampling(6, **{**SAMPLING, "seed": SAMPLING["seed"] + TEST_SEED}))
    fresh = distinct_pairs(make_pairs(lm.tokenizer, drawn)[0], pairs)
    return validate_features(task_of(lm, file, pairs, **changes), estimates, wanted, fresh)


def test_exact_effects_are_of_the_same_question(
    study: Study, lm: LanguageModel, saes: dict[Site, SaeFile], study_pairs: list[Pair]
) -> None:
    file, wanted = saes[SITE], ValidationPlan(top=2, longest_curve=0)
    direct = validated_directly(study, lm, file, study_pairs, ValidationPlan(top=2))
    found = direct.validation
    pd.testing.assert_frame_equal(study.validation("cities"), found)
    pd.testing.assert_frame_equal(study.curves("cities"), direct.curves)
    for name in ("metric", "decision", "base"):
        changes = {name: DEFAULT_QUESTION[name]}
        other = validated_directly(study, lm, file, study_pairs, wanted, **changes).validation
        assert not math.isclose(other["exact_mean"].sum(), found["exact_mean"].sum(), rel_tol=1e-3), name


def test_validating_later_takes_top_positions_and_curves_as_given(
    study: Study, lm: LanguageModel, saes: dict[Site, SaeFile], study_pairs: list[Pair]
) -> None:
    assert not study.curves("cities").empty
    found = saeattr.validate(study, top=3, positions="single", curves=False, figures=False, device="cpu")
    wanted = ValidationPlan(top=3, positions="single", longest_curve=0)
    direct = validated_directly(study, lm, saes[SITE], study_pairs, wanted).validation
    # Copies of other features share a forward, which moves the last bits of the metric.
    pd.testing.assert_frame_equal(found.validation("cities"), direct, rtol=1e-3, atol=1e-6)
    assert len(direct) == 3
    assert found.curves("cities").empty
    everywhere = ValidationPlan(top=3, longest_curve=0)
    other = validated_directly(study, lm, saes[SITE], study_pairs, everywhere).validation
    assert not other["exact_mean"].equals(direct["exact_mean"])


def test_controls_and_the_smallest_effect_of_interest_are_those_that_were_asked_for(study: Study) -> None:
    usual = saeattr.validate(study, top=2, curves=False, figures=False, device="cpu").validation()
    assert set(usual["n_controls"]) == {39}
    assert set(usual["smallest"]) == {0.01}
    other = saeattr.validate(study, top=2, curves=False, figures=False, device="cpu", controls=20, smallest=0.4)
    assert set(other.validation()["n_controls"]) == {20}
    assert set(other.validation()["smallest"]) == {0.4}
    for name in ("exact_median", "exact_low", "share"):
        assert other.validation()[name].equals(usual[name])
    # Fewer effects are beyond the larger share.
    assert (other.validation()["p_value"] >= usual["p_value"]).all()


def test_lists_generated_without_any_edit_are_those_that_features_are_tested_on(
    study: Study, lm: LanguageModel, saes: dict[Site, SaeFile], study_pairs: list[Pair]
) -> None:
    found = saeattr.validate(
        study, top=2, curves=False, generate=True, generate_features=1, figures=False, device="cpu"
    )
    rows = pd.read_parquet(Generating.folder(found.folder, "cities") / "generated.parquet")
    assert set(rows["base"]) == {QUESTION["base"]}
    nothing = rows[rows["condition"] == "nothing"]
    drawn = pd.read_parquet(found.folder.root / "test_lists" / "cities.parquet")
    assert nothing["text"].tolist() == drawn["text"].tolist() != list(study.lists()["text"])
    features = study.features("cities")
    largest = int(features["feature"].iloc[int(features["effect_mean"].abs().argmax())])
    batches = run_pairs(task_of(lm, saes[SITE], study_pairs), [SITE])
    ablated = Ablation(SiteBase.of(load_sae(saes[SITE]), batches), [largest])
    sampling = Sampling(6, **{**SAMPLING, "seed": SAMPLING["seed"] + TEST_SEED})
    direct = generate_conditions(lm, "cities", ablated, sampling)
    for condition in ("nothing", "features"):
        texts = direct.loc[direct["condition"] == condition, "text"].tolist()
        assert rows.loc[rows["condition"] == condition, "text"].tolist() == texts


def test_the_batch_size_holds_for_sampling_for_attribution_and_for_validation(tmp_path: Path) -> None:
    seen: dict[str, list[int]] = {}

    def note(group: str, stage: str, done: int, total: int) -> None:
        seen.setdefault(stage, []).append(done)

    small = {**SMALL, "lists": 3}
    study = saeattr.attribute(
        "cities", out=tmp_path / "s", batch_size=2, validate_top=1, max_new_tokens=20, on_progress=note, **small
    )
    n_forwards = 0
    for folder in ("lists", "test_lists"):
        lists = pd.read_parquet(study.folder.root / folder / "cities.parquet")
        lengths = (lists["token_ids"].map(len) - lists["prompt_length"]).tolist()
        # One forward reads one token of each list of a batch.
        n_forwards += max(lengths[:2]) + lengths[2]
    assert len(seen["sampling lists"]) == n_forwards
    assert seen["forward and backward"] == [0, 2, 3]
    # Three pairs that rank, and three that test.
    assert len(study.test_pairs()) == 3
    assert seen["forward"] == [0, 2, 3] * 2
    seen.clear()
    saeattr.validate(study, top=2, curves=False, figures=False, device="cpu", batch_size=1, on_progress=note)
    assert seen["forward"] == [0, 1, 2, 3] * 2


def test_validate_has_a_device_and_a_budget_of_its_own(study: Study) -> None:
    with pytest.raises(UserError, match="a budget of 1 MiB is too small"):
        saeattr.validate(study, top=4, figures=False, device="cpu", vram="1MiB")
    with pytest.raises(UserError, match="cuda:7"):
        saeattr.validate(study, top=4, figures=False, device="cuda:7")
