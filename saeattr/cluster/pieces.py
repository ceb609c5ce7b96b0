"""What of a stage is handed out, piece by piece."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from saeattr.attribution.group import waiting_values
from saeattr.cluster.dealing import Weighed, deal
from saeattr.cluster.sent import Item, Piece, What
from saeattr.runs.needs import HELD_ON_HOST
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from saeattr.study.attribution import Attribution
from saeattr.study.stage import Stage, Work
from saeattr.study.waiting import run_bytes


def group_pieces(stage: Stage, works: Sequence[Work], paces: Sequence[Pace]) -> list[Piece]:
    """A piece for each group."""
    return [Piece(stage, (_item(work),), pace, _sites(work)) for work, pace in zip(works, paces, strict=True)]


def together_pieces(stage: Stage, works: Sequence[Work], pace: Pace, n_workers: int) -> list[Piece]:
    """Groups dealt so that each SAE is opened once for all those of a piece."""
    units = [_weighed(work.task, _item(work)) for work in works]
    return _pieces(stage, works, units, pace, n_workers, "groups")


def attribution_pieces(
    stage: Attribution, works: Sequence[Work], pace: Pace, n_workers: int
) -> tuple[list[Piece], list[Piece], list[Piece]]:
    """An attribution's pieces in three rounds.

    Returns:
        what large groups' shards add to their means; whole groups, and shards of large ones; the large groups' tables,
        made of their parts.
    """
    whole, means, shards, large = [], [], [], []
    for work in works:
        parts = stage.of_group(work)
        if len(parts.units) == 1:
            whole.append(work)
            continue
        large.append(work)
        lacking = {unit.number for unit in parts.lacking()}
        for unit in parts.units if lacking else ():
            one = _weighed(unit.task, Item(work.group, (work.group,), (unit.number,)))
            means.append(one)
            shards += [one] if unit.number in lacking else []
    return (
        _pieces(stage, works, means, pace, n_workers, "means"),
        [
            *_pieces(stage, works, shards, pace, n_workers, "shards"),
            *together_pieces(stage, whole, pace, n_workers),
        ],
        group_pieces(stage, large, [pace] * len(large)),
    )


def _pieces(
    stage: Stage, works: Sequence[Work], units: Sequence[Weighed], pace: Pace, n_workers: int, what: What
) -> list[Piece]:
    if not units:
        return []
    # Of the disk as much as one process would take, and of memory as much each.
    room = HELD_ON_HOST + shutil.disk_usage(works[0].study.root).free // 2 // n_workers
    return [Piece(stage, items, pace, _sites(works[0]), what) for items in deal(units, n_workers, room)]


def _item(work: Work) -> Item:
    """Of the pairs that the work has: a stage of all groups, or that chooses sites, has several groups'."""
    return Item(work.group, tuple(dict.fromkeys(pair.group for pair in work.task.pairs)))


def _weighed(task: Task, item: Item) -> Weighed:
    return Weighed(item, sum(len(pair.clean_ids) for pair in task.pairs), run_bytes(task, waiting_values(task)))


def _sites(work: Work) -> tuple[str, ...]:
    return tuple(str(file.site) for file in work.task.saes)
