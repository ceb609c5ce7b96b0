"""A group of many pairs, attributed in shards that are stored as they are done: one shard's runs are held at a time."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.attribution.group import attribute_shard, first_pairs, group_features
from saeattr.attribution.means import group_means
from saeattr.attribution.rows import SUMMARISED
from saeattr.behaviours.pair import Pair, chunks
from saeattr.files import read_rows, read_table, write_part
from saeattr.runs.task import Task
from saeattr.sites import Site
from saeattr.tables import ENTRIES, GROUP_FEATURE, GROUP_SITE, METRIC_BY_POINT, SITE_EFFECTS, TABLES

#: Pairs whose runs are held at a time; a group of more is attributed in shards.
SHARD_PAIRS = 256
#: Of such a group attributions.parquet keeps the entries from this share of their site's sum of |effect| in the pair.
SHARDED_KEEP_FROM = 0.01


def attribute_in_shards(task: Task, keep_from: float, partial: Path, shard_pairs: int = SHARD_PAIRS) -> dict[str, Any]:
    """``attribute_group`` for any number of pairs; the same numbers, whatever the size of a shard.

    1. Means over all pairs (``group_means``).
    2. Shard by shard: runs, attributions, tables (``attribute_shard``), stored; one that is there is not done again.
    3. Sums over shards, site by site (``group_features``).

    Args:
        keep_from: as for ``attribute_shard``.
        partial: where shards are stored.

    Returns:
        the tables by name; of entries and of pairs' effects, which are too many, the folders of the shards.

    Raises:
        UserError: the folder cannot be written, or what it holds is damaged.
    """
    means, folders = None, []
    parts = list(chunks(task.pairs, shard_pairs))
    for number, part in enumerate(parts):
        task.on_step("shards of pairs", number, len(parts))
        folder = partial / f"{number:05d}-{_key(task, part, keep_from)}"
        folders.append(folder)
        if folder.is_dir():
            continue
        means = means or group_means(task, shard_pairs)
        shard = attribute_shard(dataclasses.replace(task, pairs=part), first_pairs(task), means, keep_from)
        write_part(folder, {name: TABLES[name].frame(table) for name, table in vars(shard).items()})
    task.on_step("shards of pairs", len(parts), len(parts))

    summed: list[pd.DataFrame] = []

    def read(site: Site) -> tuple[pd.DataFrame, pd.DataFrame]:
        effects, carried = read_sums(folders, site)
        summed.append(_summed(carried, [*GROUP_FEATURE, "what", "value"]))
        return effects, summed[-1]

    features, active = group_features([file.site for file in task.saes], read, task.times)
    joined = {
        table.name: pd.concat([read_table(one / f"{table.name}.parquet", table) for one in folders], ignore_index=True)
        for table in (SITE_EFFECTS, METRIC_BY_POINT, ENTRIES)
    }
    return {
        "attributions": folders,
        "pair_effects": folders,
        "site_effects": joined["site_effects"],
        "metric_by_point": joined["metric_by_point"].sort_values("run", kind="stable", ignore_index=True),
        "entries": _summed(joined["entries"], GROUP_SITE),
        "carriers": pd.concat(summed, ignore_index=True),
        "features": features,
        "active": active,
    }


def read_sums(folders: Sequence[Path], site: Site) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of one site, each pair's effects and what carries them, as the folders of a group or of its shards have them."""
    here = {"layer": site.layer, "kind": site.kind}
    effects = pd.concat([read_rows(one / "pair_effects.parquet", SUMMARISED, **here) for one in folders])
    return effects, pd.concat([read_rows(one / "carriers.parquet", **here) for one in folders])


def _summed(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    return table.groupby(list(keys), sort=True).sum().reset_index()


def _key(task: Task, part: Sequence[Pair], keep_from: float) -> str:
    """Changes with everything that a shard's tables depend on; means are of all pairs."""
    question = task.question
    parts = [
        task.lm.name,
        [(pair.pair_id, *pair.evidence) for pair in part],
        hashlib.sha256(repr([pair.evidence for pair in task.pairs]).encode()).hexdigest(),
        [(str(file.site), file.name) for file in task.saes],
        (question.metric.name, question.decision, question.base, question.method, question.ig_steps),
        question.check_pairs,
        keep_from,
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
