"""The stage that attributes a group, and what a reader should be warned of in its tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch

from saeattr.attribution.group import attribute_units, waiting_values
from saeattr.attribution.rounding import dtype_warning, measure_rounding
from saeattr.files import remove_stored
from saeattr.progress import OnStep
from saeattr.runs.task import Task
from saeattr.saes.loading import load_sae
from saeattr.sites import Site
from saeattr.study.folder import StudyFolder
from saeattr.study.site_parts import GroupParts
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.study.waiting import in_rounds, run_bytes, waiting_store
from saeattr.tables import (
    ACTIVE,
    ATTRIBUTIONS,
    CARRIERS,
    ENTRIES,
    FEATURES,
    METRIC_BY_POINT,
    PAIR_EFFECTS,
    SITE,
    SITE_EFFECTS,
    Table,
    row_site,
)

#: A reconstruction that moves the metric by more than this share of the clean-corrupted gap is worth a warning.
RECONSTRUCTION_LIMIT = 0.5

#: Pairs that are run in float32 too where the model's dtype is another.
ROUNDING_PAIRS = 5


@dataclass(frozen=True)
class Attribution(Stage):
    """Every active feature's effect at every site."""

    name: ClassVar[str] = "attribution"
    joined: ClassVar[tuple[Table, ...]] = (ATTRIBUTIONS, ENTRIES, FEATURES, ACTIVE, SITE_EFFECTS, METRIC_BY_POINT)
    kept: ClassVar[tuple[Table, ...]] = (PAIR_EFFECTS, CARRIERS)
    together: ClassVar[bool] = True

    def run(self, work: Work) -> Outcome:
        return next(self.run_groups([work]))

    def run_groups(self, works: Sequence[Work]) -> Iterator[Outcome]:
        """Every SAE is opened once for all groups; what is done of a group is stored on the way."""
        study = works[0].study
        parts = [self.of_group(work) for work in works]
        try:
            attribute_parts(parts, study.root, works[0].on_all if len(works) > 1 else works[0].task.on_step)
        except BaseException:
            for one in parts:
                one.store()
            raise
        for work, one in zip(works, parts, strict=True):
            tables = one.tables()
            warnings = reconstruction_warnings(work.group, tables["site_effects"], tables["metric_by_point"])
            warnings += rounding_warnings(work.task, tables["features"]) + entries_warnings(
                work.group, tables["entries"]
            )
            yield Outcome({table.name: tables[table.name] for table in (*self.joined, *self.kept)}, warnings)

    @classmethod
    def of_group(cls, work: Work) -> GroupParts:
        """What is done of a group, and what is left to do."""
        return GroupParts(work.task, cls.partial(work.study, work.group), work.prepared.settings.keep_from)

    def write(self, study: StudyFolder, group: str, outcome: Outcome) -> None:
        super().write(study, group, outcome)
        remove_stored(self.partial(study, group))


def attribute_parts(
    parts: Sequence[GroupParts], root: Path, on_step: OnStep, shards: Mapping[str, Collection[int]] | None = None
) -> None:
    """Attribute what is missing of some groups, as many pairs together as their runs have room for beside the study.

    Args:
        shards: by group, the numbers of those that are wanted; of other groups all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    of_group = {one.task.group: one for one in parts}
    missing = [unit for one in parts for unit in one.missing((shards or {}).get(one.task.group, ()))]
    for units in in_rounds(missing, lambda unit: run_bytes(unit.task, waiting_values(unit.task)), root):
        with waiting_store(root) as store:
            attribute_units(
                units,
                store,
                lambda unit, points: of_group[unit.task.group].put_points(unit, points),
                lambda unit, site, tables: of_group[unit.task.group].put_site(unit, site, tables),
                on_step,
            )


def entries_warnings(group: str, entries: pd.DataFrame) -> list[str]:
    """A line where attributions.parquet leaves entries out: how many, and what they carry."""
    total = entries[["n_entries", "n_kept", "size", "size_kept"]].sum()
    if total["n_entries"] == total["n_kept"]:
        return []
    return [
        f"{group}: attributions.parquet has {total['n_kept']:,.0f} of {total['n_entries']:,.0f} entries, which carry "
        f"{total['size_kept'] / total['size']:.1%} of |effect|; all other tables are of every entry (--keep-from 0 "
        "keeps all)"
    ]


def reconstruction_warnings(group: str, site_effects: pd.DataFrame, metric_by_point: pd.DataFrame) -> list[str]:
    """A line where SAEs lose so much that their effects need care: most of the metric's gap moves with x_hat for x."""
    last = metric_by_point[metric_by_point["point"] == metric_by_point["n_points"]]
    means = last.groupby("run")["metric"].mean()
    if "corrupted" not in means:
        return []
    gap = abs(float(means["clean"] - means["corrupted"]))
    moved = site_effects.groupby(SITE)["reconstruction_effect"].mean().abs()
    poor = moved[moved > RECONSTRUCTION_LIMIT * gap].sort_values(ascending=False)
    if poor.empty:
        return []
    layer, kind = poor.index[0]  # pyright: ignore[reportGeneralTypeIssues]
    return [
        f"{group}: with the SAE's reconstruction in place of x, the metric moves by more than "
        f"{RECONSTRUCTION_LIMIT:.0%} of the clean-corrupted gap at {len(poor)} of {len(moved)} sites (most at "
        f"{Site(kind, layer)}: {poor.iloc[0]:.2f} of {gap:.2f}); read their effects with care"
    ]


def rounding_warnings(task: Task, features: pd.DataFrame) -> list[str]:
    """A line where the dtype changes attributions much: a few pairs at the top feature's site in float32 too."""
    pairs = [pair for pair in task.pairs if pair.corrupted_ids is not None][:ROUNDING_PAIRS]
    if task.lm.dtype == torch.float32 or features.empty or not pairs:
        return []
    site = row_site(features.iloc[0].to_dict())
    sae = load_sae(next(file for file in task.saes if file.site == site), task.lm.device)
    warning = dtype_warning([measure_rounding(task.lm, pair, sae, task.question) for pair in pairs])
    return [warning] if warning else []
