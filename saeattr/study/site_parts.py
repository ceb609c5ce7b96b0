"""A group's attribution in parts, pairs by sites: stored as they are made, and joined when all are there.

Every SAE is opened once for all groups, so for hours no group is complete; and a group of many pairs is attributed in
shards, of which one at a time has its rows in memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.attribution.group import SiteTables, Unit, first_pairs, group_features
from saeattr.attribution.means import means_of, shard_sums
from saeattr.attribution.rows import SUMMARISED
from saeattr.behaviours.pair import chunks
from saeattr.files import fault, listed_sums, read_rows, read_table, write_part
from saeattr.runs.base import SiteMeans
from saeattr.runs.task import Task
from saeattr.sites import Site
from saeattr.study.stored_means import read_sums_of, write_sums_of
from saeattr.tables import ENTRIES, GROUP_FEATURE, GROUP_SITE, METRIC_BY_POINT, SITE_EFFECTS, TABLES

#: Pairs of a group that are attributed together; a group of more is attributed in shards.
SHARD_PAIRS = 256
#: Of such a group attributions.parquet keeps the entries from this share of their site's sum of |effect| in the pair.
SHARDED_KEEP_FROM = 0.01
#: Parts are stored when this much work, in seconds, would be lost otherwise: files cost more than small parts do.
STORED_AFTER = 2.0


@dataclass(eq=False)
class GroupParts:
    """What is done of one group.

    Attributes:
        task: all pairs of the group, and the SAEs of the study's sites.
        folder: where parts are stored; it need not be there.
        keep_from: as in ``Unit``; None for the usual share where the group has shards, and all where it has none.
        shard_pairs: pairs of a shard.
        held: parts in memory: by shard and site its tables, without a site ``metric_by_point``.
        since: when the oldest of them was begun.
    """

    task: Task
    folder: Path
    keep_from: float | None = None
    shard_pairs: int = SHARD_PAIRS
    held: dict[tuple[int, Site | None], Mapping[str, pd.DataFrame]] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        parts = list(chunks(self.task.pairs, self.shard_pairs))
        share = self.keep_from if self.keep_from is not None else SHARDED_KEEP_FROM if len(parts) > 1 else 0.0
        checked = first_pairs(self.task)
        tasks = [dataclasses.replace(self.task, pairs=part) for part in parts]
        self.units = [Unit(task, checked, share, number=number) for number, task in enumerate(tasks)]
        # What a group of many pairs is made of is long, and asked for with every part.
        whole = _digest([pair.evidence for pair in self.task.pairs])
        self._keys = [_unit_key(unit, whole) for unit in self.units]

    def missing(self, shards: Collection[int] = ()) -> list[Unit]:
        """The shards with the SAEs that they still need; those that need none are left out.

        Args:
            shards: numbers of those that are looked at; all by default.
        """
        wanted = [unit for unit in self.lacking() if not shards or unit.number in shards]
        if not wanted or len(self.units) == 1:
            return wanted
        means = self._means()
        return [dataclasses.replace(unit, means=means) for unit in wanted]

    def lacking(self) -> list[Unit]:
        """As ``missing`` without the means over the group, which the model is run for."""
        found = []
        for unit in self.units:
            saes = [file for file in self.task.saes if not self._is_there(unit.number, file.site)]
            if saes:
                found.append(dataclasses.replace(unit, task=dataclasses.replace(unit.task, saes=saes)))
        return found

    def store_sums(self, shards: Collection[int]) -> None:
        """Store what some shards add to the means, where it is not stored: other processes' ``missing`` reads it."""
        for unit in self.units:
            if unit.number in shards and read_sums_of(self._sums_path(unit.number)) is None:
                write_sums_of(self._sums_path(unit.number), shard_sums(unit.task))

    def _means(self) -> dict[Site, SiteMeans]:
        """Over the whole group, from what is stored of its shards or made now."""
        sums, n_pairs = [], len(self.task.pairs)
        for unit in self.units:
            self.task.on_step("means over all pairs", unit.number * self.shard_pairs, n_pairs)
            sums.append(read_sums_of(self._sums_path(unit.number)) or shard_sums(unit.task))
        self.task.on_step("means over all pairs", n_pairs, n_pairs)
        return means_of(self.task, sums)

    def _sums_path(self, number: int) -> Path:
        key = _digest([self._keys[number], [(str(file.site), file.name) for file in self.task.saes]])
        return self.folder / f"{number:05d}-means-{key[:16]}.safetensors"

    def put_points(self, unit: Unit, points: pd.DataFrame) -> None:
        self.held[unit.number, None] = {METRIC_BY_POINT.name: points}

    def put_site(self, unit: Unit, site: Site, tables: SiteTables) -> None:
        """Take a part; it is stored, with those before it, when it is time."""
        self.held[unit.number, site] = vars(tables)
        if time.monotonic() - self.since >= STORED_AFTER:
            self.store()

    def store(self) -> None:
        """Store what is held.

        Raises:
            UserError: the folder cannot be written.
        """
        for (number, site), tables in list(self.held.items()):
            framed = {name: TABLES[name].frame(table) for name, table in tables.items()}
            write_part(self._path(number, site), framed)
            del self.held[number, site]
        self.since = time.monotonic()

    def tables(self) -> dict[str, Any]:
        """The group's tables by name; of a group in shards the folders of those that may be large.

        Raises:
            UserError: a part is damaged.
        """
        if len(self.units) > 1:
            self.store()
        sites = [file.site for file in self.task.saes]
        places = [(unit.number, site) for site in sites for unit in self.units]
        summed: dict[Site, pd.DataFrame] = {}

        def read(site: Site) -> tuple[pd.DataFrame, pd.DataFrame]:
            effects, carried = self._sums(site)
            summed[site] = carried
            return effects, carried

        features, active = group_features(sites, read, self.task.times)
        entries = self._frames(ENTRIES.name, places)
        points = self._frames(METRIC_BY_POINT.name, [(unit.number, None) for unit in self.units])
        found: dict[str, Any] = {
            "site_effects": self._frames(SITE_EFFECTS.name, places),
            "entries": _summed(entries, GROUP_SITE) if len(self.units) > 1 else entries,
            # All clean runs before the corrupted ones, as in one piece.
            "metric_by_point": points.sort_values("run", kind="stable", ignore_index=True),
            "carriers": pd.concat([summed[site] for site in sites], ignore_index=True),
            "features": features,
            "active": active,
        }
        for name in ("attributions", "pair_effects"):
            # Whatever was stored on the way, a file's bytes are the same.
            whole = len(self.units) == 1
            found[name] = self._frames(name, places) if whole else [self._path(*place) for place in places]
        return found

    def _is_there(self, number: int, site: Site) -> bool:
        return all((number, place) in self.held or is_whole(self._path(number, place)) for place in (site, None))

    def _sums(self, site: Site) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Each pair's effects at a site and what carries them, over all shards."""
        places = [(unit.number, site) for unit in self.units]
        if len(places) == 1:
            effects, carried = (self._frames(name, places) for name in ("pair_effects", "carriers"))
            return effects, carried
        effects, carried = read_sums([self._path(*place) for place in places], site)
        return effects, _summed(carried, [*GROUP_FEATURE, "what", "value"])

    def _frames(self, name: str, places: Sequence[tuple[int, Site | None]]) -> pd.DataFrame:
        return pd.concat([self._frame(name, place) for place in places], ignore_index=True)

    def _frame(self, name: str, place: tuple[int, Site | None]) -> pd.DataFrame:
        if place in self.held:
            return self.held[place][name]
        return read_table(self._path(*place) / f"{name}.parquet", TABLES[name])

    def _path(self, number: int, site: Site | None) -> Path:
        file = next((file for file in self.task.saes if file.site == site), None)
        what = "metric" if site is None else str(site)
        key = _digest([self._keys[number], None if file is None else (str(file.site), file.name)])
        return self.folder / f"{number:05d}-{what}-{key[:16]}"


def is_whole(folder: Path) -> bool:
    """Whether a part is stored, and none of its tables is damaged."""
    sums = listed_sums(folder)
    return bool(sums) and all(fault(folder / name) is None for name in sums)


def read_sums(folders: Sequence[Path], site: Site) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of one site, each pair's effects and what carries them, as the folders of a group or of its parts have them."""
    here = {"layer": site.layer, "kind": site.kind}
    effects = pd.concat([read_rows(one / "pair_effects.parquet", SUMMARISED, **here) for one in folders])
    return effects, pd.concat([read_rows(one / "carriers.parquet", **here) for one in folders])


def _summed(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    return table.groupby(list(keys), sort=True).sum().reset_index()


def _unit_key(unit: Unit, whole: str) -> str:
    """Changes with everything but the SAE that a part depends on; means are of the whole group."""
    question = unit.task.question
    return _digest(
        [
            unit.task.lm.name,
            [(pair.pair_id, *pair.evidence) for pair in unit.task.pairs],
            whole,
            (question.metric.name, question.decision, question.base, question.method, question.ig_steps),
            question.check_pairs,
            unit.keep_from,
        ]
    )


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
