"""Token ids of marks, as a user writes them."""

from __future__ import annotations

import pytest

from saeattr import UserError
from saeattr.corpus.marks import Marks
from tests.corpus.conftest import MARKS


def test_marks_are_spelt_and_other_tokens_are_their_numbers() -> None:
    marks = Marks(MARKS)
    assert marks.decode([15, 16, 70, 12]) == "- <70>\n"
    assert (marks.request([2, 18, 51]), marks.request([2, 19]), marks.request([2, 51])) == (
        "short list",
        "long list",
        "",
    )
    wanted = (frozenset({12, 14}), frozenset({16, 17}), 2, 1, 13)
    found = marks.markers
    assert (found.newlines, found.blanks, found.bos, found.eos, found.end_of_turn) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("end=1", "--marks has no header"),
        ("", "--marks cannot be ''"),
        (MARKS + ",tab=3", "--marks cannot be 'tab=3': write NAME=ID once for each of header, end"),
        (MARKS + ",end=3", "--marks cannot be 'end=3'"),
        (MARKS.replace("15", "dash"), "--marks cannot be 'hyphen=dash': a token id is a number"),
    ],
)
def test_other_marks_are_refused(text: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        Marks(text)
    assert str(refused.value).startswith(said)
