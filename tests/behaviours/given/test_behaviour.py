"""A user's own pairs as a behaviour: groups, what is contrasted, what is refused before anything is run."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.given.behaviour import MOST_GROUPS, Given
from saeattr.behaviours.given.source import read_source
from saeattr.errors import UserError
from saeattr.model.loading import find_model, load_tokenizer
from saeattr.settings import StudySettings

ROW = {"clean": "The capital of France is", "corrupted": "The capital of Peru is", "answer": " Paris", "wrong": " Lima"}


@functools.cache
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(find_model("bundled", weights=False))


def behaviour(*rows: dict[str, Any], longest: int | None = None) -> Given:
    return Given(read_source([{**ROW, **cells} for cells in rows]), longest)


def refused(own: Given, group: str = "pairs", **settings: Any) -> str:
    asked = StudySettings(**settings)
    with pytest.raises(UserError) as error:
        own.check_settings(tokenizer(), [group], asked, own.contrast(tokenizer(), asked))
    return str(error.value)


def test_groups_are_those_of_the_rows_in_order_and_all_is_every_one() -> None:
    own = behaviour({"group": "b"}, {"group": "a"}, {"group": "b"})
    assert own.groups(["all"]) == ("b", "a")
    assert own.groups(["a", "a"]) == ("a",)
    with pytest.raises(UserError, match="^3 rows has no group 'c': it has b, a, or all$"):
        own.groups(["a", "c"])


def test_many_groups_run_only_if_they_are_named() -> None:
    own = behaviour(*({"group": f"g{number}"} for number in range(MOST_GROUPS + 1)))
    with pytest.raises(UserError) as error:
        own.groups(["all"])
    assert str(error.value) == (
        "201 rows has 201 groups (g0, g1, g2, g3, g4, g5, g6, g7, ...), and each is attributed by itself: name up to a "
        "few with --group, or take another column with --columns group=NAME"
    )
    assert own.groups(["g7", "g150"]) == ("g7", "g150")


@pytest.mark.parametrize(
    ("rows", "settings", "metric", "label"),
    [
        ([{}], {}, "logit-difference", "logit(answer) - logit(wrong)"),
        ([{}, {"answer": " New York"}], {}, "log-prob-difference", "log P(answer) - log P(wrong)"),
        ([{"wrong": None}], {}, "log-prob", "log P(answer)"),
        ([{}], {"metric": "probability"}, "probability", ""),
        ([{}], {"contrast": (" Paris", " Oslo")}, "logit-difference", "logit(' Paris') - logit(' Oslo')"),
    ],
)
def test_what_is_contrasted_is_read_off_the_answers(
    rows: list[dict[str, Any]], settings: dict[str, Any], metric: str, label: str
) -> None:
    found = behaviour(*rows).contrast(tokenizer(), StudySettings(**settings))
    assert (found.metric, found.label) == (metric, label)


def test_chats_and_plain_prompts_are_not_one_group() -> None:
    own = behaviour({}, {"chat": True}, {"chat": True}, {"group": "other"})
    with pytest.raises(UserError) as error:
        own.check(tokenizer(), own.all_groups)
    assert str(error.value) == (
        "the group 'pairs' of 4 rows has 2 chats and 1 plain prompts: give them different groups"
    )
    own.check(tokenizer(), ["other"])


def test_a_group_without_any_pair_is_refused_with_its_first_reason() -> None:
    own = behaviour({"wrong": " Paris"}, {"corrupted": ROW["clean"]}, {"group": "good"})
    assert refused(own) == (
        "none of the 2 rows of 'pairs' in 3 rows can be used; row 1: a token is both answer and wrong answer: name it "
        "once"
    )
    assert refused(behaviour({"corrupted": None})) == (
        "none of the 1 rows of 'pairs' in 1 rows can be used; row 1: there is no corrupted prompt: fill the column "
        "corrupted, or use --base zero or mean with named --sites"
    )
    assert refused(behaviour({}, longest=5)).endswith("it has 6 tokens, and the model reads 5: shorten the prompt")
    asked = StudySettings(base="zero")
    alone = behaviour({"corrupted": None})
    alone.check_settings(tokenizer(), ["pairs"], asked, alone.contrast(tokenizer(), asked))
    own.check_settings(tokenizer(), ["good"], StudySettings(), own.contrast(tokenizer(), StudySettings()))
