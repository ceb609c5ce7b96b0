"""The tables of a study in the terminal: top features, shared features, how far to trust the estimates."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeattr.neuronpedia.links import read_links
from saeattr.reporting.checks import SiteCheck, site_checks
from saeattr.reporting.figures.style import label_texts, show_token
from saeattr.reporting.lines import GROUPS_IN_FULL, part_lines
from saeattr.reporting.numbers import pairs_text, span_text
from saeattr.reporting.terminal.console import study_console
from saeattr.reporting.terminal.generation import generation_tables
from saeattr.reporting.terminal.group import LONGEST_LABEL, group_lines, group_table
from saeattr.reporting.terminal.notes import print_notes
from saeattr.reporting.verdicts import count_verdicts
from saeattr.sites import Kind, Site
from saeattr.study.results import Study
from saeattr.tables import row_address


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


def check_table(site_effects: pd.DataFrame) -> Table:
    """The estimates' sum against the exact effect of patching the whole site, by layer and kind."""
    checks = {check.site: check for check in site_checks(site_effects)}
    measured = span_text([check.n_pairs for check in checks.values()])
    table = Table(
        title="how far to trust the estimates, by site",
        caption="sum of estimates (features + error term) / exact effect of patching the whole site (measured in "
        f"{measured} pairs a site, Student's 95 % over them); in brackets the error term's part of the sum, then "
        "features per token (L0)",
        title_justify="left",
        caption_justify="left",
    )
    kinds: list[Kind] = sorted({site.kind for site in checks})
    table.add_column("layer", justify="right")
    for kind in kinds:
        table.add_column(kind, justify="right")
    for layer in sorted({site.layer for site in checks}):
        here = (checks.get(Site(kind, layer)) for kind in kinds)
        table.add_row(str(layer), *("" if check is None else _check_text(check) for check in here))
    return table


def _check_text(check: SiteCheck) -> str:
    """``0.98 ±0.05 (+0.12) 34``."""
    ratio = "-" if math.isnan(check.ratio) else f"{check.ratio:.2f}"
    reach = "" if math.isnan(check.low) else f" ±{(check.high - check.low) / 2:.2f}"
    share = "-" if math.isnan(check.error_share) else f"{check.error_share:+.2f}"
    return f"{ratio}{reach} ({share}) {check.l0:.0f}"


def print_study(study: Study, top: int, console: Console | None = None) -> None:
    """Print the top features of each group (of all groups, if many), the checks and the files."""
    console = console or study_console()
    features = study.features()
    labels = label_texts(read_links(study.folder).labels)
    if len(study.groups) <= GROUPS_IN_FULL:
        for group in study.groups:
            own = features[features["group"] == group].head(top)
            console.print(group_table(own, group, study, labels, console.width))
            for line in group_lines(study, group):
                console.print(escape(line), highlight=False)
            console.print()
    if len(study.groups) > 1:
        console.print(shared_table(features, len(study.groups), top, labels))
        _print_verdicts(study, console)
    console.print(check_table(study.site_effects()))
    generation = study.generation()
    if not generation.empty:
        for table in generation_tables(generation):
            console.print(table)
    for line in study.choice:
        console.print(escape(line), highlight=False)
    print_notes(study, console)
    console.print(f"tables   {escape(str(study.folder.root))}/*.parquet", highlight=False)
    if study.figures:
        console.print(f"figures  {escape(str(study.folder.figures))}/*.png (and .svg)", highlight=False)
        for path in study.figures:
            console.print(f"         {escape(path.name)}", highlight=False)


def print_parts(study: Study, console: Console | None = None) -> None:
    """Print what was found before any SAE was opened, as the page says it."""
    console = console or study_console()
    for name, lines in part_lines(study).items():
        console.print(f"[bold]{name}[/]")
        for line in lines:
            console.print(f"  {escape(line)}", highlight=False)
    console.print()


def _print_verdicts(study: Study, console: Console) -> None:
    """The verdicts of all groups together, where the groups are too many for tables of their own."""
    validation = study.validation()
    if len(study.groups) > GROUPS_IN_FULL and len(validation):
        counted = count_verdicts(validation["verdict"])
        tested = f"of {len(validation)} features tested in {validation['group'].nunique()} groups"
        pairs = f"each on {pairs_text(validation['n_pairs'])}"
        console.print(f"verdicts: {tested}, {pairs}, {counted}", highlight=False)
