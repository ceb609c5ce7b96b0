"""Any token ids and any text read as a list: never an exception, and items that are where they say."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st

from saeattr.behaviours.chat import ChatTurns
from saeattr.behaviours.lists.parsing import ListMarkers, ParsedList, parse_list
from saeattr.behaviours.lists.written import WrittenList
from saeattr.corpus.marks import Marks
from saeattr.corpus.reading import Reading
from tests.fuzz.cases import fuzz, unless_refused
from tests.fuzz.values import TEXTS, torn

#: Characters as tokens, so that positions of tokens are positions of the text.
MARKS = {name: ord(letter) for name, letter in {"newline": "\n", "hyphen": "-", "blank": " "}.items()}
BEGIN, END, EOS = 0xE000, 0xE001, 0xE002
CHARACTERS = ListMarkers(
    turns=ChatTurns((), (BEGIN,), (BEGIN,), END, "<end>"),
    bos=None,
    eos=EOS,
    **MARKS,
    newlines=frozenset((ord("\n"), ord("\r"))),
    blanks=frozenset((ord(" "), ord("\t"))),
    star=ord("*"),
    bullet=ord("\u2022"),
)
LINE = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", " ", "\t", "  "]),
    st.sampled_from(
        ["- ", "-", "* ", "**", "\u2022 ", "1. ", "12) ", "3.5 ", "99999999999. ", "\u0663. ", "\u00b2. ", ""]
    ),
    st.sampled_from(["Paris", "New York", "a:", "It ends here, I think.", "-", "**", "", "\u202e"])
    | st.text(max_size=6),
    st.sampled_from(["", " ", " \t ", "\n", "\n\n", "\r\n"]),
)
LISTS = torn(st.lists(LINE, max_size=8).map("\n".join)) | TEXTS | st.text(max_size=60)


def spell(characters: Sequence[int]) -> str:
    return "".join(map(chr, characters))


def check(parsed: ParsedList, ids: Sequence[int], text: str) -> None:
    stop = len(ids) if parsed.end_position is None else parsed.end_position
    assert parsed.ended == (parsed.end_position is not None)
    assert (parsed.problem is None) == bool(parsed.items)
    assert parsed.text == text[parsed.answer_start : stop]
    for item in parsed.items:
        assert parsed.answer_start <= item.first <= item.start < item.end <= item.stop <= stop
        assert item.text == text[item.start : item.end].strip()
        assert item.text in parsed.text
        assert not item.text or "\n" not in item.text
        assert item.blank is None or item.end == item.blank < item.stop
        assert item.newline is None or item.stop <= item.newline < stop
        assert item.complete == (item.newline is not None or parsed.ended)
    assert all(one.stop <= other.first for one, other in pairwise(parsed.items))
    assert all(item.complete for item in parsed.items[:-1])


@fuzz(LISTS, st.booleans(), times=4)
def test_any_text_has_items_inside_it_and_in_order(text: str, ended: bool):
    ids = [BEGIN, *map(ord, text), *([END] if ended else [])]
    check(parse_list(ids, CHARACTERS, spell), ids, spell(ids))


@fuzz(
    st.lists(st.sampled_from([BEGIN, END, EOS, *MARKS.values(), ord("a"), ord("1"), ord("."), ord("*")]), max_size=40)
)
def test_any_tokens_in_any_order_have_items_inside_them(ids: list[int]):
    parsed = parse_list(ids, CHARACTERS, spell)
    if BEGIN in ids:
        check(parsed, ids, spell(ids))
    assert bool(parsed.items) == (parsed.problem is None)


@fuzz(LISTS, st.booleans(), times=2)
def test_any_written_list_is_counted_or_refused(text: str, ended: bool):
    reading = Reading.of_marks(Marks("header=1/2,end=3,newline=4,hyphen=5,blank=6"))
    ids = tuple(ord(letter) % 9 for letter in text)
    for written in (WrittenList("row 1", "x", text, ended=ended), WrittenList("row 1", "x", "", ids, ended=ended)):
        read = unless_refused(lambda written=written: reading.read(written))
        if read is not None:
            assert len(read.items) == len(read.blanks)
            assert len(read.item_tokens) in (0, len(read.items))
