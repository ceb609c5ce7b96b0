"""Answers are right by rules written here, from the text alone."""

from __future__ import annotations

import re

import pytest
from transformers import PreTrainedTokenizerFast

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
from saeattr.behaviours.ready.words import listed
from tests.behaviours.ready.tokenizers import every_word, word_tokenizer


def rows(behaviour: ReadyBehaviour, group: str, tokenizer: PreTrainedTokenizerFast, n: int = 150) -> list[Row]:
    found = behaviour.rows(group, tokenizer, n, 4).rows
    assert len(found) >= 30
    return found


def changed(row: Row) -> list[tuple[str, str]]:
    """The words in which the prompts differ."""
    both = zip(re.findall(r"\w+|\W", row["clean"]), re.findall(r"\w+|\W", row["corrupted"]), strict=True)
    return [(clean, other) for clean, other in both if clean != other]


@pytest.mark.parametrize("group", ["abba", "baba", "abba-abc", "baba-abc"])
def test_the_one_who_does_not_give_is_given(group: str, whole: PreTrainedTokenizerFast) -> None:
    for row in rows(ioi.BEHAVIOUR, group, whole):
        first, second, giver = (word for word in re.findall(r"\w+", row["clean"]) if word in ioi.NAMES)
        other = {first: second, second: first}[giver]
        assert (row["answer"], row["wrong"]) == (f" {other}", f" {giver}")
        assert (other == first) == group.startswith("abba")
        ((now, instead),) = changed(row)
        assert now == giver
        assert instead == other if "abc" not in group else instead not in (first, second)


@pytest.mark.parametrize("group", ["lasted", "ended"])
def test_greater_years_are_greater(group: str, whole: PreTrainedTokenizerFast) -> None:
    for row in rows(greater_than.BEHAVIOUR, group, whole):
        year, century = re.findall(r"\d+", row["clean"])
        start = int(year)
        assert row["clean"].endswith(century)
        assert changed(row) == [(year, f"{century}01")]
        assert sorted(row["answer"] + row["wrong"]) == [f"{number:02d}" for number in range(100)]
        assert all(int(century + end) > start for end in row["answer"])
        assert all(int(century + end) <= start for end in row["wrong"])
        assert row["spans"]["year"] in (year[2:], [row["clean"].index(year) + 2, row["clean"].index(year) + 4])


def test_digit_by_digit_the_tens_decide_and_the_same_tens_are_left_out() -> None:
    tokenizer = word_tokenizer(every_word(), "digits")
    made = greater_than.BEHAVIOUR.rows("lasted", tokenizer, 150, 0)
    assert "digit by digit" in made.notes[0]
    for row in made.rows:
        year, century = re.findall(r"\d+", row["clean"])
        start = int(year)
        # Whatever digit follows: all years with these tens are later, or none is.
        for tens in row["answer"]:
            assert all(int(f"{century}{tens}{unit}") > start for unit in range(10))
        for tens in row["wrong"]:
            assert all(int(f"{century}{tens}{unit}") < start for unit in range(10))
        assert sorted([*row["answer"], *row["wrong"], year[2]]) == list("0123456789")


def test_years_in_threes_are_refused_with_what_the_tokenizer_does() -> None:
    with pytest.raises(UserError, match="greater-than cannot be asked .* splits ' 1732' into .*'173', '2'"):
        greater_than.BEHAVIOUR.rows("lasted", word_tokenizer(every_word(), "threes"), 5, 0)


def test_years_that_a_tokenizer_has_whole_neither_begin_nor_answer(whole: PreTrainedTokenizerFast) -> None:
    """As GPT-2's tokenizer, which has some years whole."""
    tokenizer = word_tokenizer(every_word())
    tokenizer.add_tokens([" 1732", " 1760", " 1601"])
    made = greater_than.BEHAVIOUR.rows("lasted", tokenizer, 600, 0)
    assert made.notes[0] == "greater-than: 580 of 679 years are a token of the century and one of two digits"
    for row in made.rows:
        year, century = re.findall(r"\d+", row["clean"])
        assert year != "1732"
        assert century != "16"
        missing = {f"{number:02d}" for number in range(100)} - {*row["answer"], *row["wrong"]}
        assert missing == ({"32", "60"} if century == "17" else set())
    assert greater_than.BEHAVIOUR.rows("lasted", whole, 1, 0).notes[0].startswith("greater-than: 679 of 679")


#: Written by hand: the plural forms, so that agreement is judged without the behaviour's own lists.
PLURAL = set(
    listed(
        """
    boys girls teachers doctors students farmers singers writers workers players drivers lawyers artists authors
    kings queens friends brothers sisters parents soldiers officers dogs cats horses birds cows cars books houses
    trees tables doors pictures letters flowers
    """
    )
)
OF_MANY = set(listed("are were have do look seem need stand remain make get come"))
ACTS_OF_MANY = set(listed("know see help like want follow love remember"))


@pytest.mark.parametrize("group", ["simple", "across-pp", "across-rc"])
def test_the_verb_has_the_number_of_the_subject(group: str, whole: PreTrainedTokenizerFast) -> None:
    numbers = set()
    for row in rows(agreement.BEHAVIOUR, group, whole):
        ((subject, other),) = changed(row)
        assert subject == row["spans"]["subject"] or row["clean"][slice(*row["spans"]["subject"])] == subject
        assert {f"{subject}s", f"{other}s"} & {subject, other}
        plural = subject in PLURAL
        assert (other in PLURAL) != plural
        assert (row["answer"].strip() in OF_MANY) == plural
        assert (row["wrong"].strip() in OF_MANY) != plural
        assert row["number"] == ("plural" if plural else "singular")
        if group == "simple":
            assert row["clean"].endswith(f" {subject}")
            continue
        distractor = row["spans"]["distractor"]
        assert row["distractor_number"] == ("plural" if distractor in PLURAL else "singular")
        numbers.add((row["number"], row["distractor_number"]))
        if group == "across-rc":
            before, act = row["clean"].split()[-2:]
            assert before == distractor
            assert (act in ACTS_OF_MANY) == (distractor in PLURAL)
    # Every combination comes, so that a distractor's number says nothing of the subject's.
    assert group == "simple" or len(numbers) == 4


def test_pronouns_are_of_the_person_before(whole: PreTrainedTokenizerFast) -> None:
    for group, (hers, his) in {"name": ("she", "he"), "possessive": ("her", "his")}.items():
        for row in rows(pronoun.BEHAVIOUR, group, whole):
            ((person, other),) = changed(row)
            assert (person in pronoun.HER_NAMES) != (person in pronoun.HIS_NAMES)
            assert (person in pronoun.HER_NAMES) == (other in pronoun.HIS_NAMES) == (row["gender"] == "female")
            expected = (f" {hers}", f" {his}") if person in pronoun.HER_NAMES else (f" {his}", f" {hers}")
            assert (row["answer"], row["wrong"]) == expected
    women = "woman girl lady mother daughter sister aunt queen princess actress wife grandmother bride widow niece nun"
    for row in rows(pronoun.BEHAVIOUR, "noun", whole):
        ((person, other),) = changed(row)
        assert (person in women.split()) != (other in women.split())
        assert row["answer"] == (" she" if person in women.split() else " he")


@pytest.mark.parametrize("group", ["replaced", "swapped"])
def test_the_next_parameter_is_the_third_argument(group: str, whole: PreTrainedTokenizerFast) -> None:
    for row in rows(docstring.BEHAVIOUR, group, whole):
        for side, prompt in (("answer", row["clean"]), ("wrong", row["corrupted"])):
            arguments = [name.strip() for name in prompt.split("(self,")[1].split(")")[0].split(",")]
            described = re.findall(r":param (\w+):", prompt)
            assert described == arguments[:2]
            assert row[side] == f" {arguments[2]}"
            assert len(set(arguments)) == 4
        assert len(changed(row)) == {"replaced": 1, "swapped": 2}[group]
        assert row["clean"].endswith(":param")


def test_answers_of_word_relations_belong_to_the_word(whole: PreTrainedTokenizerFast) -> None:
    opposite = dict(antonyms.OPPOSITES) | {second: first for first, second in antonyms.OPPOSITES}
    for behaviour, known in (
        (antonyms.BEHAVIOUR, opposite),
        (country_capital.BEHAVIOUR, dict(country_capital.CAPITALS)),
    ):
        for group in behaviour.group_help:
            for row in rows(behaviour, group, whole):
                ((word, other),) = changed(row)
                assert row["answer"] == f" {known[word]}"
                assert row["wrong"] == f" {known[other]}"
                # No example gives the answer away.
                assert row["answer"].strip() not in re.findall(r"\w+", row["clean"])
                shown = re.findall(r"- (\w+): (\w+)", row["clean"])
                assert len(shown) == (2 if group == "examples" else 0)
                assert all(known[x] == y for x, y in shown)


def test_a_word_with_two_opposites_is_not_asked_for(whole: PreTrainedTokenizerFast) -> None:
    asked = [word for word, _ in antonyms.BEHAVIOUR.words()]
    assert "right" not in asked
    assert len(asked) == len(set(asked))
    assert len(country_capital.CAPITALS) == len({x for pair in country_capital.CAPITALS for x in pair}) / 2


@pytest.mark.parametrize("group", ["deed", "object"])
def test_refusals_ask_for_one_other_word_of_a_chat_model(group: str, whole: PreTrainedTokenizerFast) -> None:
    words = dict({"deed": refusal.DEEDS, "object": refusal.OBJECTS}[group])
    for row in rows(refusal.BEHAVIOUR, group, whole):
        assert row["chat"] is True
        ((harmful, harmless),) = changed(row)
        assert words[harmful] == harmless
        assert row["answer"] == ["I", "Sorry"]
        assert row["wrong"] == ["Sure", "Here", "To"]


def test_a_model_without_a_chat_template_cannot_refuse() -> None:
    with pytest.raises(UserError, match="refusal needs a chat model, and this model's tokenizer has no chat template"):
        refusal.BEHAVIOUR.rows("deed", word_tokenizer(every_word(), chat=False), 5, 0)


def test_beginnings_of_answers_that_are_no_tokens_are_left_out() -> None:
    made = refusal.BEHAVIOUR.rows("deed", word_tokenizer(every_word() - {"Sorry", "Here"}), 5, 0)
    assert made.rows[0]["answer"] == ["I"]
    assert made.rows[0]["wrong"] == ["Sure", "To"]
    assert "begin with I, others with Sure, To" in made.notes[1]
