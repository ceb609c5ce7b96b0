"""The stage that attributes a group, and what a reader should be warned of in its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from saeattr.attribution.group import GroupTables, attribute_group
from saeattr.attribution.rounding import dtype_warning, measure_rounding
from saeattr.runs.task import Task
from saeattr.saes.loading import load_sae
from saeattr.sites import Site
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import ACTIVE, ATTRIBUTIONS, FEATURES, METRIC_BY_POINT, SITE, SITE_EFFECTS, Table, row_site

#: A reconstruction that moves the metric by more than this share of the clean-corrupted gap is worth a warning.
RECONSTRUCTION_LIMIT = 0.5

#: Pairs that are run in float32 too where the model's dtype is another.
ROUNDING_PAIRS = 5


@dataclass(frozen=True)
class Attribution(Stage):
    """Every active feature's effect at every site."""

    name: ClassVar[str] = "attribution"
    joined: ClassVar[tuple[Table, ...]] = (ATTRIBUTIONS, FEATURES, ACTIVE, SITE_EFFECTS, METRIC_BY_POINT)

    def run(self, work: Work) -> Outcome:
        tables = attribute_group(work.task)
        warnings = reconstruction_warnings(work.group, tables) + rounding_warnings(work.task, tables)
        return Outcome({table.name: getattr(tables, table.name) for table in self.joined}, warnings)


def reconstruction_warnings(group: str, tables: GroupTables) -> list[str]:
    """A line where SAEs lose so much that their effects need care: most of the metric's gap moves with x_hat for x."""
    last = tables.metric_by_point[tables.metric_by_point["point"] == tables.metric_by_point["n_points"]]
    means = last.groupby("run")["metric"].mean()
    if "corrupted" not in means:
        return []
    gap = abs(float(means["clean"] - means["corrupted"]))
    moved = tables.site_effects.groupby(SITE)["reconstruction_effect"].mean().abs()
    poor = moved[moved > RECONSTRUCTION_LIMIT * gap].sort_values(ascending=False)
    if poor.empty:
        return []
    layer, kind = poor.index[0]  # pyright: ignore[reportGeneralTypeIssues]
    return [
        f"{group}: with the SAE's reconstruction in place of x, the metric moves by more than "
        f"{RECONSTRUCTION_LIMIT:.0%} of the clean-corrupted gap at {len(poor)} of {len(moved)} sites (most at "
        f"{Site(kind, layer)}: {poor.iloc[0]:.2f} of {gap:.2f}); read their effects with care"
    ]


def rounding_warnings(task: Task, tables: GroupTables) -> list[str]:
    """A line where the dtype changes attributions much: a few pairs at the top feature's site in float32 too."""
    pairs = [pair for pair in task.pairs if pair.corrupted_ids is not None][:ROUNDING_PAIRS]
    if task.lm.dtype == torch.float32 or tables.features.empty or not pairs:
        return []
    site = row_site(tables.features.iloc[0].to_dict())
    sae = load_sae(next(file for file in task.saes if file.site == site), task.lm.device)
    warning = dtype_warning([measure_rounding(task.lm, pair, sae, task.question) for pair in pairs])
    return [warning] if warning else []
