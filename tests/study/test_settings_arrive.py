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
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.behaviours.pair import Pair
from saeattr.behaviours.tokens import single_token
from saeattr.generation.ablation import Ablation, generate_conditions
from saeattr.model.loading import LanguageModel
from saeattr.runs.base import SiteBase
from saeattr.runs.metric import METRICS
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.settings import StudySettings, changed_settings, identifies
from saeattr.sites import Site
from saeattr.study.results import Study
from saeattr.validation.group import Estimates, ValidationPlan, ValidationTables, validate_features

SITE = Site("resid_post", 2)
SMALL: dict[str, Any] = {"lists": 6, "sites": [str(SITE)], "figures": False, "device": "cpu"}
SAMPLING: dict[str, Any] = {"seed": 7, "temperature": 1.5, "top_p": 0.6, "max_new_tokens": 20}
DEFAULT_SAMPLING: dict[str, Any] = {"seed": 0, "temperature": 0.8, "top_p": 0.9, "max_new_tokens": 200}
QUESTION: dict[str, Any] = {"metric": "neg-log-prob", "decision": "all", "base": "zero", "method": "ig", "ig_steps": 2}
DEFAULT_QUESTION: dict[str, Any] = {
    **{"metric": "logit-difference", "decision": "last", "base": "corrupted"},
    **{"method": "attribution", "ig_steps": 10},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    out = tmp_path_factory.mktemp("settings") / "s"
    return saeattr.attribute("cities", out=out, validate_top=2, **SMALL, **SAMPLING, **QUESTION)


@pytest.fixture(scope="module")
def study_pairs(lm: LanguageModel) -> list[Pair]:
    return make_pairs(lm.tokenizer, sample_lists(lm, "cities", Sampling(6, **SAMPLING)))[0]


def question(**changes: Any) -> Question:
    """The study's question, with some of its parts changed."""
    asked = {**QUESTION, **changes}
    return Question(**{**asked, "metric": METRICS[asked["metric"]]})


def task(lm: LanguageModel, saes: list[SaeFile], pairs: list[Pair], seed: int | None = None, **changes: Any) -> Task:
    return Task(lm, pairs, saes, question(**changes), Pace(seed=SAMPLING["seed"] if seed is None else seed))


def directly(lm: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], **changes: Any) -> GroupTables:
    return attribute_group(task(lm, [saes[SITE]], pairs, **changes))


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
    other = directly(lm, saes, study_pairs, seed=0).features
    assert not other["effect_low"].equals(found.features["effect_low"])


def test_relevance_patching_of_a_contrast_is_what_is_asked_for(
    tmp_path: Path, lm: LanguageModel, saes: dict[Site, SaeFile]
) -> None:
    asked: dict[str, Any] = {"contrast": (" Paris", " Tokyo"), "method": "relp", "base": "mean"}
    study = saeattr.attribute("cities", out=tmp_path / "s", validate_top=0, **SMALL, **asked)
    assert study.metric_label == "logit(' Paris') - logit(' Tokyo')"
    wanted, unwanted = (single_token(lm.tokenizer, text) for text in asked["contrast"])
    pairs = make_pairs(lm.tokenizer, sample_lists(lm, "cities", Sampling(6)), ListRequest((wanted, unwanted)))[0]
    work = Task(lm, pairs, [saes[SITE]], Question(base="mean", method="relp"))
    found = attribute_group(work).attributions
    pd.testing.assert_frame_equal(study.attributions("cities"), found)
    for change in ({"base": "corrupted"}, {"method": "attribution"}):
        asked_otherwise = dataclasses.replace(work, question=dataclasses.replace(work.question, **change))
        other = attribute_group(asked_otherwise).attributions
        assert not math.isclose(other["effect"].sum(), found["effect"].sum(), rel_tol=1e-3)


def validated_directly(
    study: Study, lm: LanguageModel, file: SaeFile, pairs: list[Pair], wanted: ValidationPlan, **changes: Any
) -> ValidationTables:
    """The study's validation, from its stored attributions."""
    estimates = Estimates(study.features("cities"), study.attributions("cities"))
    return validate_features(task(lm, [file], pairs, **changes), estimates, wanted)


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
    pd.testing.assert_frame_equal(found.validation("cities"), direct)
    assert len(direct) == 3
    assert found.curves("cities").empty
    everywhere = ValidationPlan(top=3, longest_curve=0)
    other = validated_directly(study, lm, saes[SITE], study_pairs, everywhere).validation
    assert not other["exact_mean"].equals(direct["exact_mean"])


def test_lists_generated_without_any_edit_are_the_studys_own(
    study: Study, lm: LanguageModel, saes: dict[Site, SaeFile], study_pairs: list[Pair]
) -> None:
    found = saeattr.validate(
        study, top=2, curves=False, generate=True, generate_features=1, figures=False, device="cpu"
    )
    rows = pd.read_parquet(found.folder.root / "generation" / "cities" / "generated.parquet")
    assert set(rows["base"]) == {QUESTION["base"]}
    nothing = rows[rows["condition"] == "nothing"]
    assert nothing["text"].tolist() == list(study.lists()["text"])
    features = study.features("cities")
    largest = int(features.loc[features["effect_mean"].abs().idxmax(), "feature"])
    base = SiteBase.of(load_sae(saes[SITE]), run_pairs(task(lm, [], study_pairs), [SITE]))
    assert base.name == QUESTION["base"]
    direct = generate_conditions(lm, "cities", Ablation(base, [largest]), Sampling(n_lists=6, **SAMPLING))
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
    lists = study.lists()
    lengths = [len(ids) - start for ids, start in zip(lists["token_ids"], lists["prompt_length"], strict=True)]
    # One forward reads one token of each list of a batch.
    assert len(seen["sampling lists"]) == max(lengths[:2]) + lengths[2]
    assert seen["forward and backward"] == [0, 2, 3]
    assert seen["forward"] == [0, 2, 3]
    seen.clear()
    saeattr.validate(study, top=2, curves=False, figures=False, device="cpu", batch_size=1, on_progress=note)
    assert seen["forward"] == [0, 1, 2, 3]


def test_validate_has_a_device_and_a_budget_of_its_own(study: Study) -> None:
    with pytest.raises(UserError, match="a budget of 1 MiB is too small"):
        saeattr.validate(study, top=4, figures=False, device="cpu", vram="1MiB")
    with pytest.raises(UserError, match="cuda:7"):
        saeattr.validate(study, top=4, figures=False, device="cuda:7")


def test_an_option_that_validate_does_not_take_is_refused_and_so_is_one_given_twice(study: Study) -> None:
    with pytest.raises(UserError, match="'base' is not a setting of validate, which takes validate_top, batch_size"):
        saeattr.validate(study, base="zero")
    with pytest.raises(UserError, match="--batch-size cannot be 0"):
        saeattr.validate(study, batch_size=0)
    with pytest.raises(UserError, match="top is another name of validate_top"):
        saeattr.validate(study, top=3, validate_top=4)
    with pytest.raises(UserError, match="validate_top cannot be 0 here"):
        saeattr.validate(study, validate_top=0)


def test_validate_top_says_how_many_features_are_measured(study: Study) -> None:
    found = saeattr.validate(study, validate_top=4, curves=False, figures=False, device="cpu")
    assert len(found.validation("cities")) == 4


def test_changed_settings_keep_the_others() -> None:
    known = StudySettings(group=("cities",), lists=3, base="zero", sites=("resid_post.2",))
    assert changed_settings(known, {"batch_size": 2, "device": None}, "validate") == known.model_copy(
        update={"batch_size": 2}
    )


def test_what_identifies_a_study_is_all_but_where_it_runs_and_how_far_it_goes() -> None:
    free = {"group", "max_sites", "validate_top", "batch_size", "vram", "device"}
    assert {name for name in StudySettings.model_fields if not identifies(name)} == free
    assert set(StudySettings().identity()) == set(StudySettings.model_fields) - free
