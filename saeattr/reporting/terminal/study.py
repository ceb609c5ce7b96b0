"""The tables of a study in the terminal: top features, shared features, how far to trust the estimates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from saeattr.neuronpedia.links import read_links
from saeattr.reporting.figures.style import label_texts, show_token
from saeattr.sites import Site
from saeattr.study.results import Study
from saeattr.tables import GROUP_SITE, SITE, row_address

VERDICT_STYLES = {"causal": "green", "weak": "yellow", "not causal": "dim", "opposite sign": "red"}
LONGEST_LABEL = 60


def group_table(rows: pd.DataFrame, group: str, study: Study, labels: Mapping[str, str]) -> Table:
    """The attribution of each feature with its interval or, where it was validated, its exact effect and verdict."""
    settings = study.record["settings"]
    n_pairs = study.metric_by_point(group)["pair_id"].nunique()
    checked = {_key(row): row for row in study.validation(group).to_dict("records")}
    caption = "effect: estimated change of the metric when the feature is set to its base value, mean over pairs"
    if checked:
        caption += "; exact: the same, measured [95 % interval over pairs]; verdict: against matched controls"
    table = Table(
        title=f"{escape(group)}: top features by estimated effect ({settings['method']}, base {settings['base']})",
        caption=caption,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("site/feature", no_wrap=True)
    table.add_column("effect", justify="right")
    table.add_column("exact [95 %]" if checked else "95 % interval", justify="right", no_wrap=True)
    table.add_column("verdict" if checked else "pairs")
    table.add_column("label on Neuronpedia" if labels else "fires mostly at")
    for row in rows.to_dict("records"):
        known = checked.get(_key(row))
        interval, last = f"{row['effect_low']:+.3f} to {row['effect_high']:+.3f}", f"{row['n_pairs']}/{n_pairs}"
        if checked:
            interval, last = ("", "not tested") if known is None else _measured(known)
        address = row_address(row)
        words = show_token(labels.get(address, ""), LONGEST_LABEL)
        if not labels:
            words = f"{row['top_role']} {show_token(row['top_token'])}"
        table.add_row(address, f"{row['effect_mean']:+.3f}", escape(interval), last, escape(words))
    return table


def _key(row: Mapping[Hashable, Any]) -> tuple[Any, ...]:
    return row["layer"], row["kind"], row["feature"]


def _measured(row: Mapping[Hashable, Any]) -> tuple[str, str]:
    """A tested feature's exact effect with its interval, and its verdict."""
    effect = f"{row['exact_mean']:+.2f} [{row['exact_low']:+.2f}, {row['exact_high']:+.2f}]"
    return effect, f"[{VERDICT_STYLES[row['verdict']]}]{row['verdict']}[/]"


def shared_table(features: pd.DataFrame, n_groups: int, top: int, labels: Mapping[str, str]) -> Table:
    """Features ranked by how many groups have them among their own top features."""
    best = features[features["rank"] <= top]
    grouped = best.groupby(["kind", "layer", "feature"], as_index=False).agg(
        groups=("group", "nunique"),
        mean=("effect_mean", "mean"),
        low=("effect_mean", "min"),
        high=("effect_mean", "max"),
    )
    grouped["size"] = grouped["mean"].abs()
    grouped = grouped.sort_values(["groups", "size", "layer", "feature"], ascending=[False, False, True, True]).head(
        top
    )
    table = Table(
        title=f"features among the top {top} of most groups",
        caption="effect: mean over the groups that have it, and its range over them",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("site/feature", no_wrap=True)
    for name in ("groups", "effect", "range"):
        table.add_column(name, justify="right")
    if labels:
        table.add_column("label on Neuronpedia")
    for row in grouped.to_dict("records"):
        address = row_address(row)
        table.add_row(
            address,
            f"{row['groups']}/{n_groups}",
            f"{row['mean']:+.3f}",
            f"{row['low']:+.3f} to {row['high']:+.3f}",
            *([escape(show_token(labels.get(address, ""), LONGEST_LABEL))] if labels else []),
        )
    return table


def generation_table(rows: pd.DataFrame) -> Table:
    """What lists became under ablation: items, and what each condition adds to nothing, by group and site."""
    table = Table(
        title="ablation while generating: items in a list",
        caption="mean over lists; in brackets what is added to lists with nothing ablated, with its 95 % interval",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("group, site")
    conditions = list(dict.fromkeys(rows["condition"]))
    for condition in conditions:
        table.add_column(condition, justify="right")
    items = rows[rows["measure"] == "items"]
    for (group, layer, kind), own in items.groupby(GROUP_SITE, sort=False):
        cells = {}
        for row in own.to_dict("records"):
            added = f" ({row['added']:+.1f}: {row['added_low']:+.1f}, {row['added_high']:+.1f})"
            cells[row["condition"]] = f"{row['mean']:.1f}" + ("" if row["condition"] == "nothing" else added)
        name = f"{show_token(str(group), 24)} {Site(kind, layer)}"
        table.add_row(escape(name), *(cells.get(condition, "") for condition in conditions))
    return table


def check_table(site_effects: pd.DataFrame) -> Table:
    """The estimates' sum against the exact effect of patching the whole site, by layer and kind."""
    table = Table(
        title="how far to trust the estimates, by site",
        caption="sum of estimates (features + error term) / exact effect of patching the whole site; "
        "in brackets the error term's part of the sum, then features per token (L0)",
        title_justify="left",
        caption_justify="left",
    )
    kinds = sorted(site_effects["kind"].unique())
    table.add_column("layer", justify="right")
    for kind in kinds:
        table.add_column(kind, justify="right")
    sums = site_effects.groupby(SITE).agg(
        features=("features_effect", "sum"),
        error=("error_effect", "sum"),
        total=("total_effect", "sum"),
        l0=("l0", "mean"),
    )
    for layer in sorted(site_effects["layer"].unique()):
        cells = []
        for kind in kinds:
            if (layer, kind) not in sums.index:
                cells.append("")
                continue
            row = sums.loc[(layer, kind)]
            estimate = row["features"] + row["error"]
            ratio = f"{estimate / row['total']:.2f}" if row["total"] else "-"
            share = f"{row['error'] / estimate:+.2f}" if estimate else "-"
            cells.append(f"{ratio} ({share}) {row['l0']:.0f}")
        table.add_row(str(layer), *cells)
    return table


#: With more groups than this, only the shared features are printed.
GROUPS_IN_FULL = 3


class StageProgress:
    """A progress bar for each stage of each group, on standard error; called as ``OnProgress``."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> StageProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tasks:
            self._progress.stop()

    def __call__(self, group: str, stage: str, done: int, total: int) -> None:
        key = (group, stage)
        if not self._tasks:
            # Not before there is something to show: a refusal prints its one line only.
            self._progress.start()
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(f"{escape(group)}: {stage}", total=total)
        self._progress.update(self._tasks[key], completed=done, total=total)


def print_study(study: Study, top: int, console: Console | None = None) -> None:
    """Print the top features of each group (of all groups, if many), the checks and the files."""
    console = console or Console()
    features = study.features()
    labels = label_texts(read_links(study.folder).labels)
    if len(study.groups) <= GROUPS_IN_FULL:
        for group in study.groups:
            console.print(group_table(features[features["group"] == group].head(top), group, study, labels))
    if len(study.groups) > 1:
        console.print(shared_table(features, len(study.groups), top, labels))
    console.print(check_table(study.site_effects()))
    generation = study.generation()
    if not generation.empty:
        console.print(generation_table(generation))
    for warning in study.warnings:
        console.print(f"[yellow]note[/] {escape(warning)}")
    console.print(f"tables   {escape(str(study.folder.root))}/*.parquet", highlight=False)
    if study.figures:
        console.print(f"figures  {escape(str(study.folder.figures))}/*.png (and .svg)", highlight=False)
        for path in study.figures:
            console.print(f"         {escape(path.name)}", highlight=False)
