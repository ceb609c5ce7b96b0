"""What every ready behaviour promises of its rows, whichever it is and whatever the tokenizer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from saeattr import UserError
from saeattr.behaviours.ready import (
    agreement,
    antonyms,
    country_capital,
    docstring,
    greater_than,
    ioi,
    pronoun,
    refusal,
)
from saeattr.behaviours.ready.ready import ReadyBehaviour, Row
from saeattr.model.loading import LanguageModel
from tests.behaviours.ready.tokenizers import word_tokenizer

MODULES = (agreement, antonyms, country_capital, docstring, greater_than, ioi, pronoun, refusal)
GROUPS = [(module.BEHAVIOUR, group) for module in MODULES for group in module.BEHAVIOUR.group_help]
each_group = pytest.mark.parametrize(("behaviour", "group"), GROUPS, ids=lambda one: getattr(one, "name", one))
each_behaviour = pytest.mark.parametrize(
    "behaviour", [module.BEHAVIOUR for module in MODULES], ids=lambda one: one.name
)


def texts(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def span_text(row: Row, name: str) -> str:
    place = row["spans"][name]
    return place if isinstance(place, str) else row["clean"][place[0] : place[1]]


def count(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False))


@each_group
def test_rows_are_distinct_and_as_many_as_asked_for_or_the_note_says_so(
    behaviour: ReadyBehaviour, group: str, whole: PreTrainedTokenizerFast
) -> None:
    made = behaviour.rows(group, whole, 30, 0)
    assert len({(row["clean"], row["corrupted"]) for row in made.rows}) == len(made.rows) == 30
    assert {row["group"] for row in made.rows} == {group}
    assert [row["id"].split(" ")[0] for row in made.rows] == [str(number) for number in range(1, 31)]
    assert all(row["id"].split(" ", 1)[1] in row["clean"] for row in made.rows)
    assert not [note for note in made.notes if "were asked for" in note]
    endless = behaviour.rows(group, whole, 3000, 0)
    short = [note for note in endless.notes if "were asked for" in note]
    assert len(short) == (len(endless.rows) < 3000)
    assert all(str(len(endless.rows)) in note for note in short)


@each_group
def test_prompts_have_equally_many_tokens_and_differ(
    behaviour: ReadyBehaviour, group: str, whole: PreTrainedTokenizerFast
) -> None:
    for row in behaviour.rows(group, whole, 60, 1).rows:
        assert row["clean"] != row["corrupted"]
        assert count(whole, row["clean"]) == count(whole, row["corrupted"])


@each_group
def test_answers_are_single_tokens_that_the_other_side_does_not_have(
    behaviour: ReadyBehaviour, group: str, whole: PreTrainedTokenizerFast
) -> None:
    for row in behaviour.rows(group, whole, 60, 2).rows:
        answer, wrong = texts(row["answer"]), texts(row["wrong"])
        for text in (*answer, *wrong):
            assert whole.convert_ids_to_tokens(whole.encode(text, add_special_tokens=False)) == [text]
        assert answer
        assert wrong
        assert not set(answer) & set(wrong)


@each_group
def test_spans_stand_in_the_clean_prompt_and_once_where_they_are_text(
    behaviour: ReadyBehaviour, group: str, whole: PreTrainedTokenizerFast
) -> None:
    for row in behaviour.rows(group, whole, 60, 3).rows:
        assert row["spans"]
        for name, place in row["spans"].items():
            if isinstance(place, str):
                assert row["clean"].count(place) == 1
            assert span_text(row, name) in row["clean"]
            assert span_text(row, name).strip() == span_text(row, name) != ""


@each_group
def test_the_same_seed_gives_the_same_rows_and_another_one_others(
    behaviour: ReadyBehaviour, group: str, whole: PreTrainedTokenizerFast
) -> None:
    first, again, other = (behaviour.rows(group, whole, 20, seed).rows for seed in (5, 5, 6))
    assert first == again
    assert first != other
    # More of them begin with the same ones.
    assert behaviour.rows(group, whole, 25, 5).rows[:20] == first


@each_group
def test_rows_are_plain_values_that_json_carries(
    behaviour: ReadyBehaviour, group: str, whole: PreTrainedTokenizerFast
) -> None:
    rows = behaviour.rows(group, whole, 10, 0).rows
    assert json.loads(json.dumps(rows)) == rows


@each_behaviour
def test_the_example_is_one_of_its_rows(behaviour: ReadyBehaviour, whole: PreTrainedTokenizerFast) -> None:
    """It has the columns of a drawn row, aligns, and its answers are tokens."""
    example: dict[str, Any] = dict(behaviour.example)
    made = [behaviour.rows(group, whole, 1, 0).rows[0] for group in behaviour.group_help]
    assert set(example) in [set(row) - {"group", "id"} for row in made]
    assert count(whole, example["clean"]) == count(whole, example["corrupted"])
    for name, place in example["spans"].items():
        assert isinstance(place, list) or example["clean"].count(place) == 1
        assert span_text(example, name).strip() == span_text(example, name) != ""
    for text in texts(example["answer"]) + texts(example["wrong"]):
        assert count(whole, text) == 1


@each_behaviour
def test_texts_about_it_are_short_and_name_a_source(behaviour: ReadyBehaviour) -> None:
    assert "\n" not in behaviour.help + behaviour.literature
    assert "20" in behaviour.literature
    assert set(behaviour.default_groups) <= set(behaviour.group_help)


@each_group
def test_a_tokenizer_without_the_words_is_refused_in_a_line_or_gives_rows_that_hold(
    behaviour: ReadyBehaviour, group: str, lm: LanguageModel
) -> None:
    """The bundled model's tokenizer has few of them and writes the others letter by letter."""
    try:
        made = behaviour.rows(group, lm.tokenizer, 20, 0)
    except UserError:
        with pytest.raises(UserError, match=rf"^{behaviour.name}[^\n]*$"):
            behaviour.rows(group, lm.tokenizer, 20, 0)
        return
    for row in made.rows:
        assert count(lm.tokenizer, row["clean"]) == count(lm.tokenizer, row["corrupted"])
        assert all(count(lm.tokenizer, text) == 1 for text in texts(row["answer"]) + texts(row["wrong"]))


def test_words_that_are_kept_are_counted() -> None:
    some = word_tokenizer([*ioi.NAMES[:7], "When"])
    made = ioi.BEHAVIOUR.rows("abba", some, 10, 0)
    assert made.notes == [f"ioi: 7 of {len(ioi.NAMES)} names are single tokens"]
    assert {span_text(row, "IO") for row in made.rows} <= set(ioi.NAMES[:7])


def test_too_few_words_are_refused_with_their_number() -> None:
    with pytest.raises(UserError, match="ioi cannot be asked of this model: 2 of 80 names are single tokens .* 3 are"):
        ioi.BEHAVIOUR.rows("abba", word_tokenizer(ioi.NAMES[:2]), 10, 0)


def test_groups_are_found_in_any_spelling_and_unknown_ones_refused() -> None:
    assert agreement.BEHAVIOUR.groups(["Across PP", "across_pp", "simple"]) == ("across-pp", "simple")
    assert agreement.BEHAVIOUR.groups(["all"]) == tuple(agreement.BEHAVIOUR.group_help)
    with pytest.raises(
        UserError, match="agreement has no group 'acros-pp': did you mean 'across-pp'. there are simple"
    ):
        agreement.BEHAVIOUR.groups(["acros-pp"])
    with pytest.raises(UserError, match="no group of agreement was given: name one or more of simple"):
        agreement.BEHAVIOUR.groups([])
