"""What travels between the process that plans and the workers: names, numbers, settings; no tensor and no table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from saeattr.runs.question import Pace
from saeattr.study.stage import Stage

#: What a piece is: a stage for whole groups, or of some shards of groups the attribution, or what their means add up.
What = Literal["groups", "shards", "means"]


@dataclass(frozen=True)
class Place:
    """A study as every worker has to see it.

    Attributes:
        root, directory: of the study, and where relative paths of the settings begin.
        mark: a file in the study's folder, there while this run lasts: who sees it sees the same folder.
        settings: as JSON; with_saes: whether they say which SAEs.
        model_sha256, versions: of the model's files and of packages, as the process that plans has them.
        devices: by the number of a worker, one after the other; none where each finds its own.
        threads: of a worker's arithmetic; None leaves them as they are.
    """

    root: str
    directory: str
    mark: str
    settings: str
    with_saes: bool
    model_sha256: str | None
    versions: Mapping[str, str]
    devices: tuple[str, ...] = ()
    threads: int | None = None


@dataclass(frozen=True)
class Item:
    """A group of a piece.

    Attributes:
        group: whose tables are made; pairs_of: the groups whose pairs they are made of.
        shards: numbers of the shards that are wanted; none for the whole group.
    """

    group: str
    pairs_of: tuple[str, ...]
    shards: tuple[int, ...] = ()


@dataclass(frozen=True)
class Piece:
    """Work that one worker does in one go.

    Attributes:
        sites: of the SAEs that are opened, as ``kind.layer``.
    """

    stage: Stage
    items: tuple[Item, ...]
    pace: Pace
    sites: tuple[str, ...] = ()
    what: What = "groups"

    def __str__(self) -> str:
        groups = [item.group for item in self.items]
        more = f" and {len(groups) - 3} more" if len(groups) > 3 else ""
        return f"{self.stage.name} of {', '.join(groups[:3])}{more}"
