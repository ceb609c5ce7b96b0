"""The overlap of topics in the terminal: by site against chance, then the features of the most topics."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeattr.report.labels import feature_address


def print_overlap(pairs: pd.DataFrame, families: pd.DataFrame, top: int, console: Console | None = None) -> None:
    """Print the mean Jaccard index by site, beside what chance would give, and the features of the most topics."""
    console = console or Console()
    console.print(_sites(pairs))
    console.print(_features(families.head(top)))
    counts = families["family"].value_counts()
    console.print("features: " + ", ".join(f"{count} {name}" for name, count in counts.items()), highlight=False)


def _sites(pairs: pd.DataFrame) -> Table:
    table = Table(
        title="overlap of topics by site",
        caption="mean over pairs of topics; p <= 0.05: share of pairs that share more than chance would",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("site")
    for name in ("pairs", "Jaccard", "by chance", "p <= 0.05"):
        table.add_column(name, justify="right")
    for (layer, kind), own in pairs.groupby(["layer", "kind"]):
        table.add_row(
            f"{kind}.{layer}",
            str(len(own)),
            f"{own['jaccard'].mean():.2f}",
            f"{own['expected'].mean():.2f}",
            f"{(own['p_value'] <= 0.05).mean():.0%}",
        )
    return table


def _features(families: pd.DataFrame) -> Table:
    table = Table(title="features of the most topics", title_justify="left")
    table.add_column("site/feature", no_wrap=True)
    table.add_column("topics", justify="right")
    table.add_column("family")
    table.add_column("mean effect", justify="right")
    table.add_column("in", overflow="fold")
    for row in families.to_dict("records"):
        effect = "" if pd.isna(row["effect_mean"]) else f"{row['effect_mean']:+.3f}"
        named = ", ".join(row["topics"][:4]) + (", ..." if len(row["topics"]) > 4 else "")
        address = feature_address(row["kind"], row["layer"], row["feature"])
        table.add_row(address, str(row["n_topics"]), row["family"], effect, escape(named))
    return table
