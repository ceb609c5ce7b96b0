"""Which lines are items of which format, on lists as one would write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from saeattr.behaviours.lists.formats import Decode, Format, Opening, find_format
from saeattr.behaviours.lists.parsing import ListMarkers, ParsedList, parse_list


@pytest.fixture(scope="module")
def read(tokenizer: PreTrainedTokenizerFast, markers: ListMarkers, decode: Decode):
    def parse(text: str) -> ParsedList:
        ids = tokenizer.encode(f"<start_of_turn>model\n{text}", add_special_tokens=False)
        return parse_list(ids, markers, decode)

    return parse


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ("hyphen", ["- {}", "- {}", "- {}"]),
        ("hyphen", ["-{}", "  -  {} ", "- {}"]),
        ("star", ["* {}", "*  {}", " * {}"]),
        ("bullet", ["\u2022 {}", "\u2022{}", "\u2022 {} "]),
        ("numbered", ["1. {}", "2. {}", "3. {}"]),
        ("numbered", ["1) {}", " 2) {} ", "3)  {}"]),
        ("numbered", ["9. {}", "10. {}", "123. {}"]),
        ("bare", ["{}", " {}", "{} "]),
    ],
)
def test_a_list_in_any_format_gives_its_names(read, tokenizer, decode: Decode, form: Format, lines: list[str]) -> None:
    names = ["Paris", "New York", "Lima"]
    parsed = read("".join(line.format(name) + "\n" for line, name in zip(lines, names, strict=True)) + "<end_of_turn>")
    assert parsed.format == form
    assert [item.text for item in parsed.items] == names
    for item, line in zip(parsed.items, lines, strict=True):
        marker = line.partition("{}")[0].strip()
        assert decode(parsed.token_ids[item.first : item.start]).strip() == marker
        assert item.number == (int(marker[:-1]) if form == "numbered" else None)
        assert parsed.token_ids[item.stop] == tokenizer.convert_tokens_to_ids("\n")


@pytest.mark.parametrize(
    ("text", "form", "names"),
    [
        ("cities\n- Paris\n", "hyphen", ["Paris"]),
        ("cities\nTV shows\n- Paris\n", "bare", ["cities", "TV shows"]),
        ("* Paris\n- Lima\n- Oslo\n", "hyphen", ["Lima", "Oslo"]),
        ("* Paris\n- Lima\n", "star", ["Paris"]),
        ("1. Paris\n- Lima\n- Oslo\n2. Rome\n3. New York\n", "numbered", ["Paris", "Rome", "New York"]),
        ("a list of cities:\n\nParis\nLima\n", "bare", ["Paris", "Lima"]),
        ("Paris\nLima\nProvide me with a list.\n", "bare", ["Paris", "Lima"]),
        ("Paris\nTV shows.\nLima\n", "bare", ["Paris", "TV shows.", "Lima"]),
        ("Paris\n---\nLima\n***\n", "bare", ["Paris", "Lima"]),
        ("**Paris**\n**Lima**\n", "bare", ["**Paris**", "**Lima**"]),
        ("1.5 cities\n2.5 cities\n", "bare", ["1.5 cities", "2.5 cities"]),
        ("1. 2 cities\n2. 3 cities\n", "numbered", ["2 cities", "3 cities"]),
        ("1 Paris\n2 Lima\n", "bare", ["1 Paris", "2 Lima"]),
    ],
)
def test_the_format_is_that_of_most_lines(read, text: str, form: Format, names: list[str]) -> None:
    parsed = read(text)
    assert parsed.format == form
    assert [item.text for item in parsed.items] == names


FORMATS: list[Format] = ["hyphen", "star", "bullet", "numbered", "bare"]


@given(st.lists(st.sampled_from(FORMATS), max_size=12))
def test_most_lines_decide_and_in_a_tie_markers_go_before_bare_lines(forms: list[Format]) -> None:
    found = find_format(Opening(form, 0, 1) for form in forms)
    if found is None:
        assert forms in ([], ["bare"])
        return
    assert all(forms.count(found) >= forms.count(other) for other in forms)
    ties = [other for other in dict.fromkeys(forms) if forms.count(other) == forms.count(found)]
    assert found == next((other for other in ties if other != "bare"), "bare")


def test_a_mark_that_is_several_tokens_is_not_known_as_one(make_tokenizer, decode: Decode) -> None:
    known = ListMarkers.from_tokenizer(make_tokenizer())
    assert list(known.symbols.values()) == ["hyphen", "star", "bullet"]
    unknown = ListMarkers(known.turns, known.bos, known.eos, known.newline, known.hyphen, known.blank)
    assert list(unknown.symbols.values()) == ["hyphen"]
