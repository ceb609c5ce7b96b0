"""What every behaviour promises, whichever it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from saeattr import UserError
from saeattr.behaviours.behaviour import BEHAVIOURS, Behaviour, Contrast, Request, find_behaviour
from saeattr.model.loading import LanguageModel
from saeattr.runs.metric import METRICS
from saeattr.settings import StudySettings


@pytest.fixture(params=BEHAVIOURS)
def behaviour(request: pytest.FixtureRequest) -> Behaviour:
    return find_behaviour(request.param)


def request_of(lm: LanguageModel, behaviour: Behaviour, folder: Path, **settings: object) -> Request:
    asked = StudySettings(behaviour=behaviour.name, n_pairs=3, **settings)  # pyright: ignore[reportArgumentType]
    return Request(lm, asked, behaviour.contrast(lm.tokenizer, asked), folder)


def test_a_behaviour_is_found_by_its_own_name_with_its_own_help(behaviour: Behaviour) -> None:
    assert find_behaviour(behaviour.name) is behaviour
    assert BEHAVIOURS[behaviour.name][1] == behaviour.help


def test_an_unknown_behaviour_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match="'dreams' is not a behaviour: choose one of lists, facts"):
        find_behaviour("dreams")


def test_its_default_groups_are_groups_of_it_and_pass_its_check(behaviour: Behaviour, lm: LanguageModel) -> None:
    assert behaviour.groups(behaviour.default_groups) == behaviour.default_groups
    behaviour.check(lm.tokenizer, behaviour.default_groups)


def test_all_stands_for_every_group_each_once(behaviour: Behaviour) -> None:
    everything = behaviour.groups(["all"])
    assert len(set(everything)) == len(everything) > 20
    assert behaviour.groups([everything[1], "all", everything[0]]) == (everything[1], everything[0], *everything[2:])


def test_no_group_at_all_is_refused(behaviour: Behaviour) -> None:
    with pytest.raises(UserError, match="was given: name one or more"):
        behaviour.groups([])


def test_the_first_metric_is_what_is_asked_without_any(behaviour: Behaviour, lm: LanguageModel) -> None:
    first = next(iter(behaviour.metrics))
    asked = behaviour.contrast(lm.tokenizer, StudySettings())
    assert asked == behaviour.contrast(lm.tokenizer, StudySettings(metric=first))
    assert asked.name == first
    assert asked.metric in METRICS
    assert asked.label.startswith("logit(")


def test_a_metric_of_all_behaviours_is_read_at_the_same_points(
    behaviour: Behaviour, lm: LanguageModel, tmp_path: Path
) -> None:
    assert behaviour.contrast(lm.tokenizer, StudySettings(metric="neg-log-prob")).metric == "neg-log-prob"
    group = behaviour.default_groups[0]
    found = [
        behaviour.pairs(group, request_of(lm, behaviour, tmp_path, metric=metric)).pairs
        for metric in (None, "neg-log-prob")
    ]
    assert found[0] == found[1]


def test_a_contrast_puts_its_two_tokens_at_every_point(behaviour: Behaviour, lm: LanguageModel, tmp_path: Path) -> None:
    request = request_of(lm, behaviour, tmp_path, contrast=(" Paris", " Tokyo"))
    assert request.contrast == Contrast("contrast", "logit(' Paris') - logit(' Tokyo')")
    paris, tokyo = (lm.tokenizer.encode(text, add_special_tokens=False)[0] for text in (" Paris", " Tokyo"))
    pairs = behaviour.pairs(behaviour.default_groups[0], request).pairs
    assert {(point.wanted, point.unwanted) for pair in pairs for point in pair.points} == {((paris,), (tokyo,))}


@pytest.mark.parametrize(
    ("contrast", "said"),
    [
        (("Paris Tokyo", " Paris"), "'Paris Tokyo' is . tokens in this tokenizer: a metric token must be exactly one"),
        ((" Paris", " Paris"), "--contrast needs two different tokens, got ' Paris' twice"),
    ],
)
def test_a_contrast_that_is_none_is_refused(
    behaviour: Behaviour, lm: LanguageModel, contrast: tuple[str, str], said: str
) -> None:
    with pytest.raises(UserError, match=said) as refusal:
        behaviour.contrast(lm.tokenizer, StudySettings(contrast=contrast))
    assert "\n" not in str(refusal.value)


def test_the_same_request_gives_the_same_pairs_of_the_group(
    behaviour: Behaviour, lm: LanguageModel, tmp_path: Path
) -> None:
    group = behaviour.default_groups[0]
    first = behaviour.pairs(group, request_of(lm, behaviour, tmp_path / "a")).pairs
    assert first == behaviour.pairs(group, request_of(lm, behaviour, tmp_path / "b")).pairs
    assert {pair.group for pair in first} == {group}
    assert len({pair.pair_id for pair in first}) == len(first) > 0
    assert all(pair.roles[0] == "bos" for pair in first)
