"""Patching in the terminal: the strongest places of each component, how gradients agree, the heads that carry."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeattr.patching.heads import head_summary
from saeattr.patching.summary import VARIANT, patching_agreement, patching_summary
from saeattr.reporting.lines import GROUPS_IN_FULL
from saeattr.reporting.numbers import interval_text, pairs_text
from saeattr.reporting.terminal.console import study_console
from saeattr.reporting.terminal.notes import print_notes
from saeattr.study.patching import EVERY, Patching
from saeattr.study.results import Study

DIRECTION_WORDS = {"noising": "corrupted put into the clean run", "denoising": "clean put into the corrupted run"}


def print_patching(
    study: Study, stages: Sequence[Patching], named: Sequence[str], top: int, console: Console | None = None
) -> None:
    """Print what some stages of patching gave, group by group.

    Where both methods are asked for, the exact effects are printed and how well gradients predict them.

    Args:
        named: the components to print of those that gradients give; all where ``all`` is among them.
    """
    console = console or study_console()
    shown = [stage for stage in stages if stage.method == "exact"] or stages
    few = len(study.groups) <= GROUPS_IN_FULL
    for group in study.groups if few else ():
        table = study.patching(group)
        for rows in (rows for stage in shown for rows in _components(table, stage, named)):
            console.print(effects_table(rows, group, study.metric_label, top))
        _print_agreement(table, stages, group, console)
        heads = head_summary(study.head_moves(group))
        if not heads.empty:
            console.print(heads_table(heads, group, top))
    if not few:
        _print_agreement(study.patching(), stages, f"{len(study.groups)} groups", console)
    print_notes(study, console)
    console.print(f"tables   {escape(str(study.folder.root))}/patching.parquet, head_moves.parquet", highlight=False)
    if study.figures:
        console.print(f"figures  {escape(str(study.folder.figures))}/patching-*.png (and .svg)", highlight=False)


def _components(table: pd.DataFrame, stage: Patching, named: Sequence[str]) -> list[pd.DataFrame]:
    """The rows of a stage, component by component."""
    own = table[(table[VARIANT[1:]] == [stage.by, stage.direction, stage.method]).all(axis=1)]
    names = [stage.component]
    if stage.component == EVERY:
        names = [name for name in own["component"].unique() if "all" in named or name in named]
    return [rows for name in names if len(rows := own[own["component"] == name])]


def _print_agreement(table: pd.DataFrame, stages: Sequence[Patching], group: str, console: Console) -> None:
    """How gradients agree with exact effects, told apart as in the stages."""
    if len({stage.method for stage in stages}) > 1:
        own = table[(table["by"] == stages[0].by) & (table["direction"] == stages[0].direction)]
        console.print(agreement_table(patching_agreement(own), group))


def effects_table(rows: pd.DataFrame, group: str, metric_label: str, top: int) -> Table:
    """The cells of one component that patching moves furthest.

    Args:
        rows: of ``tables.PATCHING``, one group and one variant.
    """
    found, first = patching_summary(rows), rows.iloc[0]
    single = found[~found["joint"].astype(bool)]
    cells = single.sort_values("effect", key=lambda column: -column.abs(), kind="stable").head(top)
    estimated = " (by gradient)" if first["method"] == "attribution" else ""
    table = Table(
        title=f"{escape(group)}: {first['component']} by {first['by']}, {first['direction']}: "
        f"{DIRECTION_WORDS[first['direction']]}{estimated}",
        caption=f"change of {escape(metric_label)}; normalised: 0 as clean, 1 as corrupted; 95 % intervals over "
        f"{pairs_text(found['n_pairs'])}; the {len(cells)} largest of {len(single)}{escape(_together(found))}",
        title_justify="left",
        caption_justify="left",
    )
    with_heads = bool((found["head"] >= 0).any())
    table.add_column("layer", justify="right")
    if with_heads:
        table.add_column("head", justify="right")
    table.add_column("place")
    for name in ("effect", "normalised"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in cells.to_dict("records"):
        table.add_row(str(row["layer"]), *([str(row["head"])] if with_heads else []), *map(escape, _cells(row)))
    return table


def _together(found: pd.DataFrame) -> str:
    """Of roles that are patched together, the layer in which they do most."""
    joint = found[found["joint"].astype(bool)]
    if joint.empty:
        return ""
    at = joint.groupby("place", sort=False)["effect"].apply(lambda effects: effects.abs().idxmax())
    told = [
        f"{place} {joint.loc[row, 'normalised']:+.2f} (layer {joint.loc[row, 'layer']})" for place, row in at.items()
    ]
    return f"; together, at most: {', '.join(told)}"


def _cells(row: Mapping[Hashable, Any]) -> tuple[str, str, str]:
    """The place, the effect, and the normalised effect with its interval."""
    place = row["place"] if row["position"] < 0 else f"{row['position']}: {row['place']}"
    ends = interval_text(row["normalised_low"], row["normalised_high"])
    return str(place), f"{row['effect']:+.2f}", f"{row['normalised']:+.2f} {ends}"


def agreement_table(agreement: pd.DataFrame, group: str) -> Table:
    """How well gradients predict exact patching, component by component."""
    table = Table(
        title=f"{escape(group)}: patching by gradient against exact patching",
        caption="Pearson over cells (layer, head, place), means over pairs, and over every pair's cells; captured: sum "
        "of estimates / sum of exact effects",
        title_justify="left",
        caption_justify="left",
    )
    for name in ("component", "by", "direction"):
        table.add_column(name)
    for name in ("Pearson, cells", "Pearson, pairs", "captured", "cells"):
        table.add_column(name, justify="right")
    for row in agreement.to_dict("records"):
        numbers = [f"{row[name]:.3f}" for name in ("pearson", "pearson_pairs")]
        whole = [f"{row['captured']:.2f}", str(row["n_cells"])]
        table.add_row(row["component"], row["by"], row["direction"], *numbers, *whole)
    return table


def heads_table(heads: pd.DataFrame, group: str, top: int) -> Table:
    """The heads whose output at the decision changes the metric most.

    Args:
        heads: as ``head_summary`` returns it.
    """
    table = Table(
        title=f"{escape(group)}: heads that carry what differs to where the metric is read (corrupted into clean)",
        caption="attention there to the tokens that differ, clean and corrupted run; shares of corrupted - clean: "
        "exact (z there patched), direct (straight through the unembedding), of it what is read at those tokens (OV)",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("layer.head")
    for name in ("attention", "exact", "direct", "OV"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in heads.head(top).to_dict("records"):
        table.add_row(
            f"{row['layer']}.{row['head']}",
            f"{row['attention_clean']:.2f} / {row['attention_corrupted']:.2f}",
            *(
                escape(f"{row[name]:+.3f} {interval_text(row[f'{name}_low'], row[f'{name}_high'], 3)}")
                for name in ("exact", "direct", "ov")
            ),
        )
    return table
