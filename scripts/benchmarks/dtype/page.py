"""The section of docs/accuracy.md on bfloat16, and its tables in docs/measured/accuracy.md."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.sections import MEASURED, markdown, replace_section
from saeattr.attribution.rounding import LARGE


def write_page(tables: dict[str, pd.DataFrame], out: Path, layers: int, pairs: str, cheap: int) -> None:
    """Both sections.

    Args:
        tables: by model, one row for each site and base.
        layers: of the random model. pairs: how many, in words. cheap: pairs of the run's own estimate.
    """
    replace_section(out / "accuracy.md", "dtype", page(tables, layers, pairs, cheap))
    replace_section(out / MEASURED / "accuracy.md", "dtype", rows(tables, layers, cheap))


def page(tables: dict[str, pd.DataFrame], layers: int, pairs: str, cheap: int) -> list[str]:
    lines = [
        "# What bfloat16 costs",
        "",
        f"Made by `python scripts/benchmark.py dtype`: {pairs}, attribution patching "
        "with the model in bfloat16 and in float32 (SAEs and metric in float32 in both). difference: |bf16 - float32| "
        "/ |float32|, Euclidean norms over all effects of the site. Every site: "
        "[measured/accuracy.md](measured/accuracy.md).",
        "",
    ]
    for name, table in tables.items():
        for base, own in table.groupby("base", sort=False):
            lines.append(
                f"- {shape(name, layers)}, base {base}: median difference {own['difference'].median():.3f}, largest "
                f"{own['difference'].max():.3f}; lowest Pearson {own['pearson'].min():.4f}."
            )
        lines.append(f"- {shape(name, layers)}: mean change of the metric: {table['metric'].iloc[0]:.3f} logits.")
    return [
        *lines,
        "",
        "A JumpReLU feature at its threshold is on in one dtype and off in the other, with its whole activation. Their "
        f"share of the squared difference: {threshold_share(tables)}",
        "",
        f"**The warning.** A run measures its own rounding on {cheap} pairs (`measure_rounding`) and `dtype_warning` "
        f"warns above {LARGE:g}. {LARGE:g} is a judgement: no measurement here sets it. {missed(tables, cheap)}",
    ]


def rows(tables: dict[str, pd.DataFrame], layers: int, cheap: int) -> list[str]:
    """Every site and base."""
    lines = [
        "# What bfloat16 costs: all sites",
        "",
        "pearson: over (list, feature). difference: |bf16 - float32| / |float32|, Euclidean norms over all effects of "
        "the site; median and worst list: the same of one list. top 20: features in both top twenties by |mean "
        "effect|. active in one only: share of (list, feature) with an effect in one dtype and none in the other; of "
        "it from those: the share of the squared difference that such (list, feature) make. the run's own estimate: "
        f"`measure_rounding`, median of {cheap} pairs against the same weights in float32, layer by layer, which a run "
        "can afford.",
    ]
    for name, table in tables.items():
        ordered = table.drop(columns="metric").sort_values("base", kind="stable")
        lines += ["", f"## {shape(name, layers)}", "", markdown(ordered)]
    return lines


def shape(name: str, layers: int) -> str:
    return "The bundled model" if name == "bundled" else f"Gemma 2 2B's shape, {layers} layers, random weights"


def threshold_share(tables: dict[str, pd.DataFrame]) -> str:
    """Where features at their threshold make most of the difference, and where they do not."""
    parts = []
    for name, table in tables.items():
        most = table["of it from those"] > 0.5
        found = [f"{row.site} ({row.base}, {100 * row.share:.0f} %)" for row in renamed(table)[most].itertuples()]
        rest = 100 * table.loc[~most, "of it from those"]
        parts.append(
            f"{name} model: more than half of it at {', '.join(found) or 'no site'}, {rest.min():.0f} to "
            f"{rest.max():.0f} % at the others"
        )
    return f"{'; '.join(parts)}. What makes the rest is not explained here."


def missed(tables: dict[str, pd.DataFrame], cheap: int) -> str:
    """The site whose few lists say least about all of them."""
    own = renamed(pd.concat(tables.values())).query("base == 'corrupted'")
    row = own.loc[own.index[(own["difference"] / own["estimate"].astype(float)).argmax()]]
    return (
        f"The median of {cheap} lists misses what one list makes: at {row['site']} it read {row['estimate']} against a "
        f"difference of {row['difference']:.3f} over all lists (worst list {row['worst list']:.3f})."
    )


def renamed(table: pd.DataFrame) -> pd.DataFrame:
    names = {"of it from those": "share", "the run's own estimate": "estimate"}
    return table.rename(columns=names).reset_index(drop=True)
