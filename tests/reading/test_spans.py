"""Spans by hand, and what holds of them whatever the roles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeattr.behaviours.pair import BOS, DECISION, Pair, Point
from saeattr.model.loading import LanguageModel
from saeattr.reading.spans import Span, places, roles_of, spans

ROLES = ["bos", "request", "marker", "item", "item", "newline", "marker", "item", "newline"]


def pair(roles: list[str], at: tuple[int, ...] = (-1,), **more: object) -> Pair:
    n = len(roles)
    points = tuple(Point(position % n, (1,), (2,)) for position in at)
    ids = {"clean_ids": tuple(range(n)), "corrupted_ids": tuple(range(100, 100 + n))}
    return Pair("g", "p", "p", points=points, roles=tuple(roles), **{**ids, **more})  # pyright: ignore[reportArgumentType]


def test_spans_are_runs_of_one_role_counted_from_both_ends() -> None:
    assert spans(pair(ROLES, (5, 8))) == [
        Span("request", 1, 0, 1, 1),
        Span("marker", 1, 1, 2, 2),
        Span("item", 1, 1, 3, 4),
        Span("newline", 1, 1, 5, 5),
        Span(DECISION, 1, 1, 5, 5),
        Span("marker", 2, 0, 6, 6),
        Span("item", 2, 0, 7, 7),
        Span("newline", 2, 0, 8, 8),
        Span(DECISION, 2, 0, 8, 8),
    ]
    assert roles_of([pair(ROLES)]) == ["request", "marker", "item", "newline", DECISION]


def test_a_bundled_list_has_as_many_item_spans_as_line_breaks(lm: LanguageModel, pairs: list[Pair]) -> None:
    for one in pairs:
        text = str(lm.tokenizer.decode(list(one.clean_ids)))
        answer = text.rpartition("<start_of_turn>model\n")[2].partition("<end_of_turn>")[0]
        items = [span for span in spans(one) if span.role == "item"]
        assert len(items) == answer.count("\n")
        for span, line in zip(items, answer.split("\n"), strict=False):
            ids = list(one.clean_ids[span.first : span.last + 1])
            assert str(lm.tokenizer.decode(ids)).strip() == line.removeprefix("-").strip()


def test_another_continuation_begins_another_span_and_nothing_follows_the_first() -> None:
    branched = pair(["bos", "common", "answer", "answer", "answer"], (1,), branches=(0, 0, 1, 1, 2))
    found = places([branched], ["common", "answer"])
    assert [(place.span.first, place.span.last, place.follows) for place in found] == [
        (1, 1, True),
        (2, 3, False),
        (4, 4, False),
    ]


def test_a_place_knows_its_partner_or_that_it_has_none() -> None:
    ids = {"corrupted_ids": (7, 8, 9), "partners": (0, 1, -1, 2)}
    found = places([pair(["bos", "word", "other", "last"], **ids)], ["word", "other", "last"])
    assert [place.corrupted for place in found] == [1, -1, 2]
    alone = places([pair(["bos", "word"], corrupted_ids=None)], ["word"])
    assert [place.corrupted for place in alone] == [-1]


@given(st.lists(st.sampled_from(["a", "b", BOS]), min_size=1, max_size=20))
def test_spans_of_any_roles_cover_each_position_once_and_are_numbered_without_gaps(roles: list[str]) -> None:
    found = [span for span in spans(pair(roles, (0,))) if span.role != DECISION]
    covered = [at for span in found for at in range(span.first, span.last + 1)]
    assert covered == [at for at, role in enumerate(roles) if role != BOS]
    for span in found:
        assert {roles[at] for at in range(span.first, span.last + 1)} == {span.role}
        assert span.first == 0 or roles[span.first - 1] != span.role
    for role in ("a", "b"):
        own = [span for span in found if span.role == role]
        assert [span.number for span in own] == list(range(1, len(own) + 1))
        assert [span.from_end for span in own] == list(range(len(own)))[::-1]


@pytest.mark.parametrize("role", ["item", DECISION])
def test_only_the_wanted_roles_are_given(role: str) -> None:
    assert {place.span.role for place in places([pair(ROLES)], [role])} == {role}
