from __future__ import annotations

import pytest

from saeattr.behaviours.lists.topics import (
    PHRASES,
    REQUEST_WORDS,
    TOPICS,
    Length,
    asked_length,
    find_length,
    list_request,
    near_miss,
    resolve_topics,
)
from saeattr.errors import UserError


def test_all_stands_for_the_bundled_topics_in_their_order() -> None:
    assert resolve_topics(["all"]) == TOPICS
    assert resolve_topics([" ALL "]) == TOPICS
    assert len(set(TOPICS)) == len(TOPICS) == 26


def test_all_beside_other_topics_names_each_once() -> None:
    assert resolve_topics(["rivers", "cheeses", "all"]) == (
        "rivers",
        "cheeses",
        *(topic for topic in TOPICS if topic != "rivers"),
    )


def test_a_bundled_topic_gets_its_own_spelling() -> None:
    assert resolve_topics(["  tv   SHOWS ", "Cities"]) == ("TV shows", "cities")


def test_any_other_topic_is_used_as_it_is() -> None:
    assert resolve_topics(["French Cheeses", "C++ libraries", "日本の川"]) == (
        "French Cheeses",
        "C++ libraries",
        "日本の川",
    )


def test_duplicates_are_removed_and_order_kept() -> None:
    assert resolve_topics(["rivers", "cities", "Rivers ", "Cheeses", "cheeses"]) == ("rivers", "cities", "Cheeses")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no topic"),
        ([""], "blank"),
        (["cities", " \t "], "blank"),
        (["cities\nrivers"], "line break"),
        (["cities\u2028rivers"], "line break"),
        (["cit\x00ies"], "control character"),
        (["cities<end_of_turn>"], "<end_of_turn>"),
        (["<|im_start|>"], "marker"),
        (["x" * 81], "81 characters"),
    ],
)
def test_what_is_no_topic_is_refused_in_one_line(names: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("|", r"\|")) as raised:
        resolve_topics(names)
    assert len(str(raised.value).splitlines()) == 1


def test_the_longest_topic_is_allowed() -> None:
    assert resolve_topics(["x" * 80]) == ("x" * 80,)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("citties", "cities"),
        ("frutis", "fruits"),
        ("Colours", "colors"),
        ("tv show", "TV shows"),
        ("cities", None),
        ("tv shows", None),
        ("cheeses", None),
        ("", None),
    ],
)
def test_a_near_miss_is_a_misspelled_bundled_topic(written: str, meant: str | None) -> None:
    assert near_miss(written) == meant


@pytest.mark.parametrize("length", PHRASES)
def test_a_request_says_what_length_it_asks_for(length: Length) -> None:
    for topic in ("cities", "short stories", "long rivers"):
        assert asked_length(list_request(topic, length)) == length
    assert find_length(REQUEST_WORDS[length]) == find_length(length) == length


def test_what_asks_for_no_list_has_no_length_and_other_words_are_understood() -> None:
    assert asked_length("Name a long river.") is None
    assert asked_length("Be brief. I want a long, complete list of rivers.") == "long"
    assert asked_length("<bos><start_of_turn>user\nA list, please") == "none"
    with pytest.raises(UserError, match="'tiny' is not a request: choose one of short, long, plain, few, many"):
        find_length("tiny")
