"""Published SAEs and memory plans in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeattr.model.hub import NamedModel
from saeattr.reporting.terminal.console import open_console
from saeattr.runs.memory import megabytes
from saeattr.saes.catalogue import PublishedSae
from saeattr.saes.sizes import float32_bytes
from saeattr.selection.measure import Selection
from saeattr.tables import SITE, row_address, row_site, sites_of


def print_published(saes: Sequence[PublishedSae], known: NamedModel | None, console: Console | None = None) -> None:
    """Print a table of published SAEs; where the model is known, what each takes in memory and the model's note."""
    console = console or open_console()
    note = known.note if known is not None and known.note else None
    table = Table(title=f"{len(saes)} SAEs", caption=note, title_justify="left", caption_justify="left")
    columns = [("site", "left"), ("width", "right"), ("L0", "right"), ("in memory", "right")]
    for name, side in (*columns, ("Neuronpedia", "left"), ("SAE", "left")):
        table.add_column(name, justify=side, overflow="fold")  # pyright: ignore[reportArgumentType]
    for sae in saes:
        l0 = "" if sae.l0 is None else f"{sae.l0:g}"
        size = ""
        if known is not None and sae.d_sae is not None:
            d_in = known.d_attn if sae.site.kind == "attn_z" else known.d_model
            size = megabytes(float32_bytes(d_in, sae.d_sae))
        address = f"{sae.release}/{sae.sae_id}"
        table.add_row(str(sae.site), sae.width or "", l0, size, sae.neuronpedia or "-", address)
    console.print(table)


def print_refused(refused: Mapping[str, str], console: Console | None = None) -> None:
    """Print which entries cannot be used, by the reason: up to three of each by name."""
    console = console or open_console()
    by_reason: dict[str, list[str]] = {}
    for name, reason in refused.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        console.print(f"{len(names)} cannot be used: {reason} ({escape(', '.join(names[:3]))}{more})", highlight=False)


def print_selection(found: Selection, console: Console | None = None) -> None:
    """Print the layer scores, those of the chosen sites in bold, why they were chosen and what the limits left out."""
    console = console or open_console()
    shown = Table(
        title="layer scores",
        caption="effects: change of the metric with corrupted activations, exact and by the gradient; "
        "score: 0 to 1; chosen sites in bold",
        title_justify="left",
        caption_justify="left",
    )
    for name in ("site", "lens gain", "ablation effect", "gradient effect", "score", "SAE"):
        shown.add_column(name, justify="left" if name == "site" else "right")
    for row in found.table.sort_values("score", ascending=False).to_dict("records"):
        shown.add_row(
            str(row_site(row)),
            *(f"{row[name]:.2f}" for name in ("lens_gain", "ablation_effect", "gradient_effect", "score")),
            megabytes(int(row["sae_bytes"])),
            style="bold" if row["chosen"] else "dim",
        )
    console.print(shown)
    for line in (found.reason, *found.lines):
        console.print(escape(line), highlight=False)


def print_overlap(pairs: pd.DataFrame, families: pd.DataFrame, top: int, console: Console | None = None) -> None:
    """Print the mean Jaccard index by site, beside what chance would give, and the features of the most groups."""
    console = console or open_console()
    console.print(_sites(pairs))
    console.print(_features(families.head(top)))
    counts = families["family"].value_counts()
    console.print("features: " + ", ".join(f"{count} {name}" for name, count in counts.items()), highlight=False)


def _sites(pairs: pd.DataFrame) -> Table:
    table = Table(
        title="overlap of groups by site",
        caption="mean over pairs of groups; q <= 0.05: share of pairs that share more than chance would, at a false "
        "discovery rate of 5 % over all pairs and sites",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("site")
    for name in ("pairs", "Jaccard", "by chance", "q <= 0.05"):
        table.add_column(name, justify="right")
    for _, own in pairs.groupby(SITE):
        table.add_row(
            str(*sites_of(own.head(1))),
            str(len(own)),
            f"{own['jaccard'].mean():.2f}",
            f"{own['expected'].mean():.2f}",
            f"{(own['q_value'] <= 0.05).mean():.0%}",
        )
    return table


def _features(families: pd.DataFrame) -> Table:
    table = Table(title="features of the most groups", title_justify="left")
    table.add_column("site/feature", no_wrap=True)
    table.add_column("groups", justify="right")
    table.add_column("family")
    table.add_column("mean effect", justify="right")
    table.add_column("in", overflow="fold")
    for row in families.to_dict("records"):
        effect = "" if pd.isna(row["effect_mean"]) else f"{row['effect_mean']:+.3f}"
        named = ", ".join(row["groups"][:4]) + (", ..." if len(row["groups"]) > 4 else "")
        address = row_address(row)
        table.add_row(address, str(row["n_groups"]), row["family"], effect, escape(named))
    return table
