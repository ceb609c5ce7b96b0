"""Settings become everything a study needs, checked, with nothing written; and what was left open is filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saeattr import UserError, bundle
from saeattr.behaviours.behaviour import find_behaviour
from saeattr.digests import file_sha256
from saeattr.runs.metric import METRICS
from saeattr.settings import StudySettings, make_settings
from saeattr.sites import Site
from saeattr.study.prepare import default_folder, prepare, resolve


def prepared(**settings: Any):
    return prepare(make_settings({"device": "cpu", **settings}))


def test_what_was_left_open_is_filled_in() -> None:
    lists, facts = find_behaviour("lists"), find_behaviour("facts")
    settings = resolve(StudySettings(device="cpu"), lists)
    assert (settings.saes, settings.dtype, settings.metric) == ("bundled", "float32", "end-vs-continue")
    assert resolve(StudySettings(device="cpu", behaviour="facts"), facts).metric == "right-vs-other"
    given = StudySettings(device="cpu", saes="mine", dtype="bfloat16", metric="neg-log-prob")
    assert resolve(given, lists) == given


def test_the_question_is_that_of_the_settings() -> None:
    found = prepared(metric="neg-log-prob", decision="all", base="mean", method="ig", ig_steps=3).question
    assert found.metric is METRICS["neg-log-prob"]
    assert (found.decision, found.base, found.method, found.ig_steps) == ("all", "mean", "ig", 3)
    assert prepared().question.metric is METRICS["logit-difference"]


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({}, "logit(<end_of_turn>) - logit(-)"),
        ({"metric": "blank-vs-newline"}, "logit(blank) - logit(newline)"),
        ({"metric": "neg-log-prob"}, "minus log-probability of the next token"),
        ({"contrast": (" Paris", " Rome")}, "logit(' Paris') - logit(' Rome')"),
        ({"behaviour": "facts"}, "logit(right) - logit(other)"),
    ],
)
def test_the_record_says_what_figures_call_the_metric(settings: dict[str, Any], label: str) -> None:
    assert prepared(**settings).record["metric_label"] == label


def test_the_record_holds_settings_and_fingerprints_of_what_is_used() -> None:
    found = prepared(sites=["mlp_out.1", "attn_z.0"], lists=4)
    record = found.record
    assert record["settings"] == found.settings.identity()
    assert record["model"] == {"name": "bundled", "sha256": bundle.fingerprint(bundle.MODEL_FOLDER)}
    assert list(record["saes"]) == ["attn_z.0", "mlp_out.1"]
    weights = bundle.SAES_FOLDER / "mlp_out.1" / "sae_weights.safetensors"
    assert record["saes"]["mlp_out.1"] == file_sha256(weights)
    assert record["groups"] == []
    assert [file.site for file in found.saes] == [Site("attn_z", 0), Site("mlp_out", 1)]


def test_groups_are_the_behaviours_own_and_its_default_where_none_is_named() -> None:
    assert prepared().groups == ("cities",)
    assert prepared(topic="Cities").groups == ("cities",)
    assert prepared(behaviour="facts").groups == ("capitals",)
    assert prepared(behaviour="facts", group=["animal-sounds"]).groups == ("animal sounds",)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"behaviour": "dreams"}, "'dreams' is not a behaviour: choose one of lists, facts"),
        ({"metric": "accuracy"}, "'accuracy' is not a metric: choose one of end-vs-continue, blank-vs-newline, "),
        ({"metric": "right-vs-other"}, "'right-vs-other' is not a metric: choose one of end-vs-continue, "),
        ({"behaviour": "facts", "metric": "end-vs-continue"}, "is not a metric: choose one of right-vs-other, "),
        ({"behaviour": "facts", "group": ["cities"]}, "there are no facts about 'cities': "),
        ({"method": "magic"}, "--method cannot be 'magic': choose one of attribution, ig, relp"),
        ({"vram": "lots"}, "'lots' is not an amount of memory"),
        ({"sites": ["mlp_out.9"]}, "there is no SAE for mlp_out.9"),
        ({"contrast": ("Paris Rome", " Rome")}, "a metric token must be exactly one token"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        prepared(**settings)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_default_folder_names_every_setting_that_is_not_the_default() -> None:
    def folder(**settings: Any) -> str:
        return str(default_folder(prepared(**settings)))

    assert folder() == str(Path("runs") / "bundled")
    # What does not identify a study does not name it.
    assert folder(batch_size=2, validate_top=0, group=["rivers"]) == folder()
    assert folder(lists=4) == str(Path("runs") / "bundled-n_pairs=4")
    assert folder(sites=["mlp_out.1", "attn_z.0"]) == str(Path("runs") / "bundled-sites=mlp_out.1,attn_z.0")
    assert folder(behaviour="facts") == str(Path("runs") / "bundled-behaviour=facts")
    assert folder(metric="blank-vs-newline") == str(Path("runs") / "bundled-metric=blank-vs-newline")
