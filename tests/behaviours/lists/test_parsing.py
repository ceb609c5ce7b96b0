from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers
from transformers import PreTrainedTokenizerFast

from saeattr.behaviours.chat import ChatTurns
from saeattr.behaviours.lists.decisions import decision_positions
from saeattr.behaviours.lists.formats import Decode
from saeattr.behaviours.lists.parsing import ListMarkers, ParsedList, parse_list
from saeattr.errors import UserError
from tests.behaviours.lists.conftest import CHAT_TEMPLATE

IDS = ListMarkers(
    turns=ChatTurns(before=(0, 1, 20, 4), after=(2, 4, 1, 9, 4), header=(1, 9, 4), end=2, end_text="<end>"),
    bos=0,
    eos=3,
    newline=4,
    hyphen=5,
    blank=6,
    newlines=frozenset((4, 7)),
    blanks=frozenset((6, 8)),
)
MODEL = 9
NAMES = st.integers(10, 99)
REQUEST = (0, 1, 20, 4, 30, 31, 32, 2, 4, 1, MODEL, 4)


def spell(token_ids: Sequence[int]) -> str:
    return "".join({IDS.blank: " ", IDS.hyphen: "-"}.get(token, f" {token}") for token in token_ids)


def answer(*token_ids: int) -> ParsedList:
    return parse_list((*REQUEST, *token_ids), IDS, spell)


@dataclass(frozen=True)
class Line:
    indent: tuple[int, ...]
    gap: tuple[int, ...]
    name: tuple[int, ...]
    blanks: tuple[int, ...]
    newline: int

    @property
    def ids(self) -> tuple[int, ...]:
        return (*self.indent, IDS.hyphen, *self.gap, *self.name, *self.blanks, self.newline)


INSIDE = st.one_of(NAMES, st.sampled_from([IDS.hyphen, *sorted(IDS.blanks)]))
BLANKS = st.lists(st.sampled_from(sorted(IDS.blanks)), max_size=2).map(tuple)
LINES = st.builds(
    Line,
    indent=BLANKS,
    gap=BLANKS,
    name=st.tuples(NAMES | st.just(IDS.hyphen), st.lists(INSIDE, max_size=2), NAMES).map(
        lambda parts: (parts[0], *parts[1], parts[2])
    ),
    blanks=BLANKS,
    newline=st.sampled_from(sorted(IDS.newlines)),
)


@given(st.lists(LINES, min_size=1, max_size=6), st.sampled_from(sorted(IDS.stop_ids)), st.lists(NAMES, max_size=2))
def test_a_list_is_recovered_from_its_tokens(lines: list[Line], stop: int, after: list[int]) -> None:
    parsed = answer(*(token for line in lines for token in line.ids), stop, *after)
    assert [parsed.token_ids[item.start : item.end] for item in parsed.items] == [line.name for line in lines]
    at = parsed.answer_start
    for line, item in zip(lines, parsed.items, strict=True):
        assert item.first == at + len(line.indent)
        assert item.start == item.first + 1 + len(line.gap)
        assert item.blank == (item.end if line.blanks else None)
        at += len(line.ids)
        assert item.newline == at - 1
        assert item.complete
    assert (parsed.ended, parsed.end_position, parsed.cut_off) == (True, at, False)
    assert decision_positions(parsed) == tuple(item.newline for item in parsed.items)


@given(st.lists(LINES, min_size=1, max_size=6), st.data())
def test_a_list_cut_anywhere_keeps_what_was_complete(lines: list[Line], data: st.DataObject) -> None:
    whole = answer(*(token for line in lines for token in line.ids), IDS.end_of_turn)
    cut = data.draw(st.integers(whole.answer_start, len(whole.token_ids) - 1))
    parsed = parse_list(whole.token_ids[:cut], IDS, spell)
    assert parsed.complete_items == tuple(item for item in whole.items if (item.newline or 0) < cut)
    assert not parsed.ended
    assert parsed.cut_off
    assert parsed.end_position is None
    for item in parsed.items[len(parsed.complete_items) :]:
        meant = whole.items[len(parsed.complete_items)]
        assert not item.complete
        assert (item.first, item.newline) == (meant.first, None)
        assert item.end <= meant.end
    assert len(parsed.items) <= len(parsed.complete_items) + 1


@given(st.lists(st.integers(0, 40), max_size=30))
def test_any_tokens_parse_to_ordered_items_or_a_problem(token_ids: list[int]) -> None:
    parsed = parse_list(token_ids, IDS, spell)
    assert (parsed.problem is None) == bool(parsed.items)
    stop = len(token_ids) if parsed.end_position is None else parsed.end_position
    edges = [at for item in parsed.items for at in (item.first, item.start, item.last)]
    assert all(parsed.answer_start <= at < stop for at in edges)
    assert all(later >= earlier for earlier, later in pairwise(edges))
    assert all(later.first > earlier.last for earlier, later in pairwise(parsed.items))


def test_the_answer_starts_after_the_last_turn_marker_and_role() -> None:
    assert answer(5, 10, 4, 2).answer_start == len(REQUEST)


def test_hyphens_and_blanks_inside_a_name_belong_to_it() -> None:
    parsed = answer(5, 10, 5, 6, 11, 6, 4, 5, 10, 5, 6, 11, 4, 2)
    assert [item.text for item in parsed.items] == ["10-  11", "10-  11"]
    assert [item.blank is not None for item in parsed.items] == [True, False]


def test_a_list_whose_turn_ends_behind_its_last_item_is_decided_at_the_last_token_of_each_line() -> None:
    parsed = answer(5, 10, 4, 5, 11, 6, 2)
    assert parsed.ends_in_item
    assert [item.complete for item in parsed.items] == [True, True]
    assert parsed.items[1].newline is None
    assert parsed.items[1].blank == parsed.items[1].end
    assert decision_positions(parsed) == (parsed.items[0].last, parsed.items[1].blank)


def test_several_line_breaks_in_a_row_are_one_and_the_decision_is_at_the_last_of_them() -> None:
    parsed = answer(5, 10, 4, 4, 5, 11, 6, 4, 7, 2)
    assert [item.text for item in parsed.items] == ["10", "11"]
    breaks = [(item.stop - parsed.answer_start, (item.newline or 0) - parsed.answer_start) for item in parsed.items]
    assert breaks == [(2, 3), (7, 8)]
    assert decision_positions(parsed) == tuple(item.newline for item in parsed.items)


def test_headings_remarks_and_empty_bullets_are_passed_over() -> None:
    parsed = answer(10, 11, 7, 5, 12, 4, 5, 6, 4, 5, 13, 7, 14, 15, 2)
    assert [item.text for item in parsed.items] == ["12", "13"]


def test_a_bare_hyphen_at_the_cut_is_no_item() -> None:
    parsed = answer(5, 10, 4, 5)
    assert [item.text for item in parsed.items] == ["10"]
    assert parsed.cut_off


def test_what_follows_the_end_of_turn_is_not_read() -> None:
    parsed = answer(5, 10, 4, 2, 4, 5, 11, 4)
    assert [item.text for item in parsed.items] == ["10"]
    assert parsed.text.strip() == "- 10 4"


@pytest.mark.parametrize(
    ("token_ids", "said"),
    [
        ((), "empty"),
        ((2,), "empty"),
        ((4, 6, 2), "not a"),
        ((10, 11, 2), "two bare lines"),
        ((12, 5, 10, 4, 2), "'12-"),
    ],
)
def test_an_answer_that_is_no_list_says_why(token_ids: tuple[int, ...], said: str) -> None:
    parsed = answer(*token_ids)
    assert parsed.items == ()
    assert parsed.problem is not None
    assert said in parsed.problem


@pytest.mark.parametrize("token_ids", [(), (0, 10, 5, 4), (0, 1, 9)])
def test_tokens_without_an_answer_turn_are_a_problem(token_ids: tuple[int, ...]) -> None:
    parsed = parse_list(token_ids, IDS, spell)
    assert parsed.answer_start == len(token_ids)
    assert parsed.problem == "the conversation has no answer turn"


@pytest.mark.parametrize(
    "text", ["Paris, Lima.", "cities:\n- \n", "a list of cities.\na short list of cities.\n", "--"]
)
def test_prose_is_no_list(tokenizer: PreTrainedTokenizerFast, markers: ListMarkers, decode: Decode, text: str) -> None:
    ids = tokenizer.encode(f"<start_of_turn>model\n{text}<end_of_turn>", add_special_tokens=False)
    assert parse_list(ids, markers, decode).problem is not None


def test_markers_are_asked_of_the_tokenizer(tokenizer: PreTrainedTokenizerFast, markers: ListMarkers) -> None:
    names = ["<bos>", "<end_of_turn>", "<eos>", "\n", "-", " "]
    ids = tokenizer.convert_tokens_to_ids(names)
    assert [
        markers.bos,
        markers.end_of_turn,
        markers.eos,
        markers.newline,
        markers.hyphen,
        markers.blank,
    ] == ids
    assert sorted(markers.newlines) == tokenizer.convert_tokens_to_ids(["\n", "\n\n"])
    assert sorted(markers.blanks) == tokenizer.convert_tokens_to_ids([" ", "  "])
    assert markers.stop_ids == {markers.end_of_turn, markers.eos}


def test_text_of_a_real_conversation(tokenizer: PreTrainedTokenizerFast, markers: ListMarkers, decode: Decode) -> None:
    text = "- Paris\n- New York \n  - Lima \n\n<end_of_turn>"
    ids = tokenizer.encode(f"<bos><start_of_turn>model\n{text}<eos>", add_special_tokens=False)
    parsed = parse_list(ids, markers, decode)
    assert [item.text for item in parsed.items] == ["Paris", "New York", "Lima"]
    assert [item.blank is not None for item in parsed.items] == [False, True, True]
    assert parsed.text == text.removesuffix("<end_of_turn>")
    assert decode(ids).endswith(text + "<eos>")


def test_a_tokenizer_without_an_end_is_refused(make_tokenizer) -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end-of-sequence token"):
        ListMarkers.from_tokenizer(tokenizer)


def test_a_tokenizer_without_a_beginning_serves_as_it_is(make_tokenizer) -> None:
    """Qwen's has none; its template starts with the first turn."""
    tokenizer = make_tokenizer(template=CHAT_TEMPLATE.replace("{{ bos_token }}", ""))
    tokenizer.bos_token = None
    markers = ListMarkers.from_tokenizer(tokenizer)
    assert markers.bos is None
    assert tokenizer.convert_ids_to_tokens(list(markers.turns.before)) == ["<start_of_turn>", "user", "\n"]


def test_a_mark_that_is_not_one_token_is_named(make_tokenizer) -> None:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("-", "--")
    with pytest.raises(UserError, match=r"'-' is 2 tokens in this tokenizer, and must be exactly one token"):
        ListMarkers.from_tokenizer(tokenizer)


def test_turn_markers_that_the_tokenizer_does_not_know_are_refused(make_tokenizer) -> None:
    with pytest.raises(UserError, match="does not mark where an answer begins and ends"):
        ListMarkers.from_tokenizer(make_tokenizer(turn_markers=False))
