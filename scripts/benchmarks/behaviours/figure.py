"""The figures of docs/behaviours.md: which kinds of words carry a behaviour at which site."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from saeattr.reporting.figures.style import effect_map, house_style, new_figure
from saeattr.sites import KINDS
from saeattr.study.results import Study


def by_site_and_role(study: Study, group: str) -> pd.DataFrame:
    """Estimated effects of all features, summed over a role's positions, mean over pairs: sites down, roles across."""
    rows = study.attributions(group)
    rows = rows.assign(site=rows["kind"] + "." + rows["layer"].astype(str))
    n_pairs = study.pairs(group)["pair_id"].nunique()
    table = rows.groupby(["site", "role"])["effect"].sum().unstack(fill_value=0.0) / n_pairs
    sites = [f"{kind}.{layer}" for kind in KINDS for layer in sorted(rows["layer"].unique())]
    return table.reindex([site for site in sites if site in table.index])[_in_order(rows)]


def _in_order(rows: pd.DataFrame) -> list[str]:
    """Roles by where they stand on average."""
    return list(rows.groupby("role")["position"].mean().sort_values().index)


def draw(study: Study, path: Path) -> None:
    """One panel a group, all with one scale."""
    tables = {group: by_site_and_role(study, group) for group in study.groups}
    most = max(float(np.abs(table.to_numpy()).max()) for table in tables.values())
    with house_style():
        figure = new_figure(1.6 + 2.6 * len(tables), 4.2)
        grid = figure.subplots(1, len(tables), squeeze=False)[0]
        for axes, (group, table) in zip(grid, tables.items(), strict=True):
            axes.imshow(table.to_numpy(), cmap=effect_map(), vmin=-most, vmax=most, aspect="auto")
            axes.set_xticks(range(table.shape[1]), list(table.columns), rotation=45, ha="right")
            axes.set_yticks(range(table.shape[0]), list(table.index) if axes is grid[0] else [])
            axes.set_title(group)
        figure.colorbar(grid[0].images[0], ax=list(grid), label="estimated effect")
        figure.savefig(path, dpi=110)
