"""Steps that several workers tell of are one step, with what is done and what there is added up."""

from __future__ import annotations

from saeattr.cluster.telling import Heard
from saeattr.study.run import TOGETHER


def test_steps_of_several_pieces_are_added_up_and_those_that_did_not_begin_count() -> None:
    told: list[tuple[str, str, int, int]] = []
    heard = Heard(lambda *word: told.append(word), 3)
    heard.hear(0, TOGETHER, "attribution", 1, 4)
    heard.hear(2, TOGETHER, "attribution", 2, 4)
    heard.hear(0, TOGETHER, "attribution", 4, 4)
    heard.hear(1, TOGETHER, "attribution", 4, 4)
    heard.hear(2, TOGETHER, "attribution", 4, 4)
    assert told == [(TOGETHER, "attribution", done, 12) for done in (1, 3, 6, 10, 12)]


def test_a_groups_steps_are_its_own() -> None:
    told: list[tuple[str, str, int, int]] = []
    heard = Heard(lambda *word: told.append(word), 2)
    heard.hear(0, "cities", "forward", 1, 2)
    heard.hear(1, "rivers", "forward", 2, 2)
    heard.hear(0, "cities", "forward", 2, 2)
    assert told == [("cities", "forward", 1, 2), ("rivers", "forward", 2, 2), ("cities", "forward", 2, 2)]


def test_a_piece_that_is_done_again_begins_again() -> None:
    told: list[tuple[str, str, int, int]] = []
    heard = Heard(lambda *word: told.append(word), 1)
    for done in (3, 0, 4):
        heard.hear(0, TOGETHER, "attribution", done, 4)
    assert [word[2:] for word in told] == [(3, 4), (0, 4), (4, 4)]
