"""Which groups and shards a piece has: few pieces, so that an SAE is read seldom; enough to keep all workers busy."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from saeattr.cluster.sent import Item

#: Pieces that a worker is meant to get: each reads every SAE once, and with one a slow worker would keep all waiting.
PIECES_A_WORKER = 2


@dataclass(frozen=True)
class Weighed:
    """What may not be divided: a group, or a shard of one; ``cost`` in tokens, ``n_bytes`` of its waiting runs."""

    item: Item
    cost: int
    n_bytes: int = 0


def deal(units: Sequence[Weighed], n_workers: int, room: int | None = None) -> list[tuple[Item, ...]]:
    """Units in pieces of nearly equal cost, the dearest piece first; shards of one group in one piece are one item.

    Args:
        room: bytes that the waiting runs of a piece may take; None for any number.
    """
    n_pieces = min(len(units), n_workers * PIECES_A_WORKER)
    if room is not None:
        n_pieces = max(n_pieces, min(len(units), -(-sum(unit.n_bytes for unit in units) // max(1, room))))
    order = {id(unit): number for number, unit in enumerate(units)}
    heap: list[tuple[int, int, list[Weighed]]] = [(0, number, []) for number in range(n_pieces)]
    for unit in sorted(units, key=lambda unit: -unit.cost):
        # The dearest that is left goes to the piece that is cheapest so far.
        cost, number, taken = heap[0]
        heapq.heapreplace(heap, (cost + unit.cost, number, [*taken, unit]))
    dealt = sorted(heap, key=lambda piece: (-piece[0], piece[1]))
    return [_items(sorted(taken, key=lambda unit: order[id(unit)])) for _, _, taken in dealt if taken]


def _items(units: Sequence[Weighed]) -> tuple[Item, ...]:
    """Of each group one item, in order."""
    found: dict[str, Item] = {}
    for unit in units:
        item = unit.item
        known = found.get(item.group)
        shards = item.shards if known is None else tuple(sorted((*known.shards, *item.shards)))
        found[item.group] = Item(item.group, item.pairs_of, shards)
    return tuple(found.values())
