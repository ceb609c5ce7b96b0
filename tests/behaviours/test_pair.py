"""A pair refuses what does not align; pairs are padded, told apart, counted and halved."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saeattr import UserError
from saeattr.behaviours.pair import Pair, Point, by_group, chunks, distinct_pairs, halves, pad_pairs


def pair_of(clean: tuple[int, ...], corrupted: tuple[int, ...] | None, **changes: Any) -> Pair:
    fields = {
        "group": "cities",
        "pair_id": "007",
        "title": "cities 007",
        "roles": ("bos",) + ("word",) * len(clean[1:]),
    }
    roles = ("bos", *["word"] * len(clean[1:]))
    points = (Point(len(clean) - 1, (5,), (6,)),)
    return Pair(
        **{**fields, "clean_ids": clean, "corrupted_ids": corrupted, "points": points, "roles": roles, **changes}
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"corrupted_ids": (1, 2)}, "has 3 clean and 2 corrupted tokens"),
        ({"corrupted_ids": (1, 2, 3)}, "has the same clean and corrupted tokens"),
        ({"roles": ("bos", "word")}, "has 2 roles for 3 tokens"),
        ({"points": ()}, "needs decision points, each at one of its 3 tokens"),
        ({"points": (Point(3, (5,), (6,)),)}, "needs decision points, each at one of its 3 tokens"),
        ({"points": (Point(2, (5,), (6,)), Point(-1, (5,), (6,)))}, "needs decision points"),
    ],
)
def test_what_is_no_pair_is_refused_in_one_line_that_names_it(changes: dict[str, Any], said: str) -> None:
    assert pair_of((1, 2, 3), (1, 4, 3)).changed_positions == (1,)
    with pytest.raises(UserError, match=said) as refusal:
        pair_of((1, 2, 3), (1, 4, 3), **changes)
    assert str(refusal.value).startswith("pair 007 of 'cities' ")
    assert "\n" not in str(refusal.value)


def test_changed_positions_are_where_the_prompts_differ() -> None:
    assert pair_of((1, 2, 3, 4), (1, 9, 3, 8)).changed_positions == (1, 3)
    assert pair_of((1, 2, 3, 4), None).changed_positions == ()


def test_padding_is_on_the_right_and_masked() -> None:
    pairs = [pair_of((1, 2, 3), (1, 4, 3)), pair_of((1, 2, 3, 4, 5), (1, 2, 7, 8, 5)), pair_of((1, 2), (1, 3))]
    batch = pad_pairs(pairs, 0, torch.device("cpu"))
    assert batch.corrupted is not None
    assert batch.partner is None
    assert batch.clean.branch is batch.corrupted.branch is None
    for prompts in (batch.clean, batch.corrupted):
        assert prompts.tokens.shape == prompts.mask.shape == (3, 5)
        assert prompts.tokens.dtype == torch.long
    for row, pair in enumerate(pairs):
        size = len(pair.clean_ids)
        for prompts, ids in ((batch.clean, pair.clean_ids), (batch.corrupted, pair.corrupted_ids)):
            assert prompts.mask[row].tolist() == [at < size for at in range(5)]
            assert tuple(prompts.tokens[row, :size].tolist()) == ids
            assert not prompts.tokens[row, size:].any()


def test_prompts_of_unequal_length_are_padded_apart_with_each_tokens_partner() -> None:
    longer = Pair(
        "g", "0", "t", (1, 2, 3, 9), (1, 5, 6, 7, 9), (Point(3, (4,), (8,)),), ("x",) * 4, partners=(0, -1, -1, 4)
    )
    equal = pair_of((1, 2), (1, 3))
    batch = pad_pairs([longer, equal], 0)
    assert batch.corrupted is not None
    assert batch.partner is not None
    assert batch.clean.tokens.tolist() == [[1, 2, 3, 9], [1, 2, 0, 0]]
    assert batch.corrupted.tokens.tolist() == [[1, 5, 6, 7, 9], [1, 3, 0, 0, 0]]
    assert batch.partner.tolist() == [[0, -1, -1, 4], [0, 1, -1, -1]]
    assert longer.changed_positions == (1, 2)
    assert longer.first_change == 1
    assert longer.partner_ids == (1, None, None, 9)
    with pytest.raises(UserError, match="is read at a token that the corrupted prompt does not have"):
        dataclasses.replace(longer, points=(Point(2, (4,), (8,)),))


def test_the_branches_of_a_corrupted_prompt_are_those_of_the_clean_tokens_beside_it() -> None:
    pair = Pair(
        "g",
        "0",
        "t",
        (1, 2, 3, 11, 12),
        (1, 2, 5, 6, 3, 11, 12),
        (Point(2, (11,), (12,)),),
        ("x",) * 5,
        partners=(0, 1, 4, 5, 6),
        branches=(0, 0, 0, 1, 2),
    )
    batch = pad_pairs([pair], 0)
    assert batch.clean.branch is not None
    assert batch.corrupted is not None
    assert batch.corrupted.branch is not None
    assert batch.clean.branch.tolist() == [[0, 0, 0, 1, 2]]
    assert batch.corrupted.branch.tolist() == [[0, 0, 0, 0, 0, 1, 2]]
    assert pair.changed_positions == ()
    assert pair.first_change == 2


def test_one_pair_without_a_corrupted_prompt_leaves_the_batch_without() -> None:
    batch = pad_pairs([pair_of((1, 2, 3), (1, 4, 3)), pair_of((1, 2), None)], 9)
    assert batch.corrupted is None
    assert batch.clean.tokens.tolist() == [[1, 2, 3], [1, 2, 9]]


def test_chunks_and_groups_keep_the_order() -> None:
    names = [("b", "0"), ("a", "0"), ("b", "1"), ("b", "2"), ("a", "1")]
    pairs = [pair_of((1, 2), (1, 3), group=group, pair_id=pair_id) for group, pair_id in names]
    assert [len(chunk) for chunk in chunks(pairs, 2)] == [2, 2, 1]
    assert [pair for chunk in chunks(pairs, 2) for pair in chunk] == pairs
    grouped = by_group(pairs)
    assert {group: [pair.pair_id for pair in own] for group, own in grouped.items()} == {
        "b": ["0", "1", "2"],
        "a": ["0", "1"],
    }
    assert list(grouped) == ["b", "a"]


@pytest.mark.parametrize(
    "changes",
    [
        {"clean_ids": (1, 2, 7)},
        {"corrupted_ids": (1, 9, 3)},
        {"corrupted_ids": None},
        {"points": (Point(2, (6,), (5,)),)},
        {"points": (Point(1, (5,), (6,)),)},
    ],
)
def test_pairs_are_the_same_evidence_only_with_the_same_tokens_read_the_same_way(changes: dict[str, Any]) -> None:
    pair = pair_of((1, 2, 3), (1, 4, 3))
    told_apart = pair_of((1, 2, 3), (1, 4, 3), **changes)
    assert [one.times for one in distinct_pairs([pair, told_apart, pair])] == [2, 1]
    renamed = pair_of((1, 2, 3), (1, 4, 3), pair_id="008", title="another", roles=("bos", "word", "last"))
    (only,) = distinct_pairs([pair, renamed])
    assert (only.pair_id, only.times) == ("007", 2)


#: What was drawn: a number for the tokens of each pair, and how often it came already.
DRAWN = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), max_size=12)


@given(drawn=DRAWN, known=st.sets(st.integers(0, 5)))
def test_distinct_pairs_are_the_first_of_each_in_order_with_how_often_it_came(
    drawn: list[tuple[int, int]], known: set[int]
) -> None:
    pairs = [
        pair_of((1, 50 + number, 3), (1, 4, 3), pair_id=f"{nth:03d}", times=times)
        for nth, (number, times) in enumerate(drawn)
    ]
    used = [pair_of((1, 50 + number, 3), (1, 4, 3), pair_id="known", times=7) for number in sorted(known)]
    found = distinct_pairs(pairs, used)
    expected: dict[int, list[Any]] = {}
    for nth, (number, times) in enumerate(drawn):
        if number not in known:
            expected.setdefault(number, [f"{nth:03d}", 0])[1] += times
    assert [[pair.pair_id, pair.times] for pair in found] == list(expected.values())
    assert [pair.clean_ids[1] - 50 for pair in found] == list(expected)
    # Nothing is left to be told apart.
    assert distinct_pairs(found) == found
    assert distinct_pairs(pairs, [*used, *found]) == []


def families(numbers: list[int]) -> list[Pair]:
    """A pair for each number, which is the token that differs; no two pairs have the same tokens."""
    return [
        pair_of((1, 50 + nth, 10 + number, 3), (1, 50 + nth, 40 - number, 3), pair_id=f"{nth:03d}")
        for nth, number in enumerate(numbers)
    ]


@given(numbers=st.lists(st.integers(0, 6), min_size=2, max_size=20).filter(lambda numbers: len(set(numbers)) > 1))
def test_halves_never_share_a_family_of_equal_changed_tokens(numbers: list[int]) -> None:
    pairs = families(numbers)
    first, second = halves(pairs)
    sides = [{pair.pair_id for pair in half} for half in (first, second)]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == {pair.pair_id for pair in pairs}
    assert min(len(first), len(second)) > 0
    for half in (first, second):
        assert half == [pair for pair in pairs if pair in half]
    changed = [{pair.clean_ids[2] for pair in half} for half in (first, second)]
    assert not changed[0] & changed[1]
    # Filling the smaller half, they differ by no more than the largest family.
    assert abs(len(first) - len(second)) <= max(numbers.count(number) for number in numbers)


@given(count=st.integers(0, 9))
def test_pairs_of_one_family_go_to_the_halves_in_turn(count: int) -> None:
    pairs = families([2] * count)
    first, second = halves(pairs)
    assert [int(pair.pair_id) for pair in first] == list(range(0, count, 2))
    assert [int(pair.pair_id) for pair in second] == list(range(1, count, 2))


def test_two_phrasings_of_a_fact_stay_together_and_fill_the_smaller_half() -> None:
    first, second = halves(families([1, 2, 1, 3, 1, 2, 4]))
    assert [pair.clean_ids[2] - 10 for pair in first] == [1, 1, 1, 4]
    assert [pair.clean_ids[2] - 10 for pair in second] == [2, 3, 2]


def test_the_largest_families_go_first_so_that_small_ones_even_the_halves_out() -> None:
    first, second = halves(families([1, 2, 3, 3, 3]))
    assert [pair.clean_ids[2] - 10 for pair in first] == [3, 3, 3]
    assert [pair.clean_ids[2] - 10 for pair in second] == [1, 2]
