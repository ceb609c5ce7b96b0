"""Dealing loses nothing, keeps costs alike, and makes few pieces."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from saeattr.cluster.dealing import PIECES_A_WORKER, Weighed, deal
from saeattr.cluster.sent import Item

COSTS = st.lists(st.integers(1, 1000), min_size=1, max_size=60)


def groups(costs: list[int]) -> list[Weighed]:
    return [Weighed(Item(f"group {number}", (f"group {number}",)), cost, cost) for number, cost in enumerate(costs)]


@given(COSTS, st.integers(1, 9))
def test_every_group_is_in_one_piece_and_no_piece_is_much_dearer_than_another(costs: list[int], workers: int) -> None:
    pieces = deal(groups(costs), workers)
    dealt = Counter(item.group for piece in pieces for item in piece)
    assert dealt == Counter({f"group {number}": 1 for number in range(len(costs))})
    assert len(pieces) == min(len(costs), workers * PIECES_A_WORKER)
    sums = [sum(costs[int(item.group.split()[1])] for item in piece) for piece in pieces]
    assert max(sums) - min(sums) <= max(costs)
    assert sums == sorted(sums, reverse=True)


@given(st.integers(1, 40), st.integers(1, 5))
def test_shards_of_a_group_in_a_piece_are_one_item_in_order(n_shards: int, workers: int) -> None:
    units = [Weighed(Item("rivers", ("rivers",), (number,)), 10) for number in range(n_shards)]
    pieces = deal(units, workers)
    assert all(len(piece) == 1 and list(piece[0].shards) == sorted(piece[0].shards) for piece in pieces)
    assert sorted(number for piece in pieces for number in piece[0].shards) == list(range(n_shards))


def test_runs_that_have_no_room_together_are_in_more_pieces() -> None:
    units = groups([100] * 12)
    assert len(deal(units, 1)) == 2
    pieces = deal(units, 1, room=300)
    assert [sum(100 for _ in piece) for piece in pieces] == [300] * 4
    # One that is larger than the room still makes a piece.
    assert len(deal(units, 1, room=1)) == 12
