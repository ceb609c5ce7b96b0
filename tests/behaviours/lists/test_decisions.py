"""Where lists of each format are read, and between which tokens, spelled out token by token."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerFast

from saeattr.behaviours.lists.decisions import contrasted, decision_points, end_label
from saeattr.behaviours.lists.parsing import ListMarkers
from saeattr.behaviours.lists.sampling import SampledList

END = "<end_of_turn>"


@pytest.fixture
def points_of(tokenizer: PreTrainedTokenizerFast, markers: ListMarkers, write_list: Callable[..., SampledList]):
    """(text up to and with the token where it is read, the wanted tokens, the unwanted ones) of a list's points."""

    def read(text: str, contrast: str | tuple[int, int] = "end-vs-continue"):
        parsed = write_list(text).parsed
        words = tokenizer.convert_ids_to_tokens
        return [
            (
                "".join(words(list(parsed.token_ids[parsed.answer_start : point.position + 1]))),
                words(list(point.wanted)),
                words(list(point.unwanted)),
            )
            for point in decision_points(tokenizer, parsed, markers, contrast)
        ]

    return read


@pytest.mark.parametrize("mark", ["-", "*", "\u2022"])
def test_behind_a_marked_item_the_end_stands_against_the_mark(points_of, mark: str) -> None:
    text = f"{mark} Paris\n{mark} New York \n{END}"
    assert points_of(text) == [
        (f"{mark} Paris\n", [END], [mark]),
        (f"{mark} Paris\n{mark} New York \n", [END], [mark]),
    ]


def test_behind_a_numbered_item_the_end_stands_against_the_next_numbers_first_token(points_of) -> None:
    lines = [f"{number}. Paris\n" for number in range(8, 13)]
    found = points_of("".join(lines) + END)
    # 9, 10, 11, 12, and 13 behind the last; the tokenizer has one token a digit.
    assert [unwanted for _, _, unwanted in found] == [["9"], ["1"], ["1"], ["1"], ["1"]]
    assert [unwanted for _, _, unwanted in points_of(f"1) Paris\n2) Lima\n{END}")] == [["2"], ["3"]]
    assert [read for read, _, _ in found] == ["".join(lines[:upto]) for upto in range(1, 6)]


def test_a_list_that_numbers_every_item_alike_goes_on_so(points_of) -> None:
    assert [unwanted for _, _, unwanted in points_of(f"1. Paris\n1. Lima\n{END}")] == [["1"], ["1"]]
    # Where another number follows, it is the one that stands in the text.
    assert [unwanted for _, _, unwanted in points_of(f"1. Paris\n5. Lima\n{END}")] == [["5"], ["6"]]


def test_behind_a_bare_line_the_end_stands_against_all_tokens_that_open_an_item(points_of) -> None:
    found = points_of(f"Paris\nNew York\nNew Paris\nLima\n{END}")
    assert [unwanted for _, _, unwanted in found] == [["Paris", "New", "Lima"]] * 4
    assert found[1][0] == "Paris\nNew York\n"


def test_a_list_that_ends_in_its_last_item_is_read_at_the_last_tokens_of_lines(points_of) -> None:
    """There the model decided; at the line breaks before it, it never ends its turn."""
    assert points_of(f"- Paris\n- New York \n- Lima{END}") == [
        ("- Paris", [END], ["\n"]),
        ("- Paris\n- New York ", [END], ["\n"]),
        ("- Paris\n- New York \n- Lima", [END], ["\n"]),
    ]
    assert points_of(f"1. Paris\n\n2. Lima {END}") == [
        ("1. Paris", [END], ["\n\n"]),
        ("1. Paris\n\n2. Lima ", [END], ["\n\n"]),
    ]
    assert points_of(f"- Paris{END}") == [("- Paris", [END], ["\n"])]


def test_a_list_that_is_cut_off_is_read_at_line_breaks_that_a_token_follows(points_of) -> None:
    assert [read for read, _, _ in points_of("- Paris\n- Lima\n")] == ["- Paris\n"]
    assert [read for read, _, _ in points_of("- Paris\n- Lima\n- Os")] == ["- Paris\n", "- Paris\n- Lima\n"]
    assert [unwanted for _, _, unwanted in points_of("1. Paris\n2. Lima\n3")] == [["2"], ["3"]]


def test_two_tokens_of_ones_own_are_read_where_the_list_is_decided(points_of, tokenizer) -> None:
    own = tuple(tokenizer.convert_tokens_to_ids([" Paris", " Lima"]))
    assert points_of(f"- Oslo\n- Rome{END}", own) == [
        ("- Oslo", [" Paris"], [" Lima"]),
        ("- Oslo\n- Rome", [" Paris"], [" Lima"]),
    ]
    assert [read for read, _, _ in points_of(f"* Oslo\n* Rome\n{END}", own)] == ["* Oslo\n", "* Oslo\n* Rome\n"]


def test_the_label_says_what_was_contrasted_the_commonest_first(write_list: Callable[..., SampledList]) -> None:
    texts = ["- a\n", f"1. a\n2. Paris\n{END}", f"1. a\n2. Paris\n{END}", f"- Paris\n- Lima{END}", f"a\nParis\n{END}"]
    words = [contrasted(write_list(text).parsed) for text in texts]
    assert words == ["-", "the next number", "the next number", "line break", "an item's first token"]
    assert end_label(END, words[:3]) == f"logit({END}) - logit(the next number or -)"
    assert end_label(END, words[:1]) == end_label(END, ()) == f"logit({END}) - logit(-)"
