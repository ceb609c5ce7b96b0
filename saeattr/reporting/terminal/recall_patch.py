"""Facts patched layer by layer, in the terminal: curves, layers of release, worst layers and heads."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeattr.recall.localisation.curves import ENTITY, FINAL, NEVER, damage_correlations, mean_curves
from saeattr.reporting.numbers import interval_text
from saeattr.reporting.terminal.console import study_console
from saeattr.reporting.terminal.notes import print_notes
from saeattr.reporting.terminal.recall import SHOWN
from saeattr.study.results import Study
from saeattr.tables import RECALL_CURVES, RECALL_RELEASE, RECALL_WORST

CAPTION = "share of the swing that the patch moves, mean over facts with Student's 95 % interval; final: last position"


def print_localisation(study: Study, show: int = SHOWN, console: Console | None = None) -> None:
    """Print the curves of both directions, where facts leave their entity, and which layers and heads move most."""
    console = console or study_console()
    curves, rows = study.recall(RECALL_CURVES), study.recall(RECALL_RELEASE)
    means, under = mean_curves(curves), rows["under"].iloc[0]
    n_facts = rows.groupby(["category", "pair_id"]).ngroups
    n_layers, model = curves["layer"].max() + 1, str(study.record["model"]["name"])
    console.print(f"{n_facts} facts patched in {escape(model)}, {n_layers} layers", highlight=False)
    console.print(_curve_table(means))
    for direction in rows["direction"].unique():
        own = rows[(rows["direction"] == direction) & (rows["place"] == ENTITY)]
        console.print(f"{direction}: {_leaving(own, under)}", highlight=False)
    console.print(_category_table(curves, rows, show))
    for line in (*_worst_lines(study.recall(RECALL_WORST)), *_correlation_lines(curves)):
        console.print(line, highlight=False)
    print_notes(study, console)
    console.print(f"written  {escape(str(study.folder.root))}", highlight=False, soft_wrap=True)


def _curve_table(means: pd.DataFrame) -> Table:
    """resid_pre by layer, entity beside final position."""
    stream = means[means["component"] == "resid_pre"]
    table = Table(title="resid_pre", caption=CAPTION, title_justify="left", caption_justify="left")
    table.add_column("layer", justify="right")
    curves = [(way, place) for way in stream["direction"].unique() for place in (ENTITY, FINAL)]
    for way, place in curves:
        table.add_column(f"{way}, {place}", justify="right")
    for layer, own in stream.groupby("layer"):
        cells = []
        for way, place in curves:
            row = own[(own["direction"] == way) & (own["place"] == place)].iloc[0]
            cells.append(escape(f"{row['share']:.2f} {interval_text(row['share_low'], row['share_high'])}"))
        table.add_row(str(layer), *cells)
    return table


def _leaving(own: pd.DataFrame, under: float) -> str:
    said = f"of {len(own)} facts the entity keeps less than {under:.0%} of its maximum from layer"
    crossed = f"the final position carries more from layer {_counted(own['cross_layer'])} on"
    return f"{said} {_counted(own['release_layer'])} on; {crossed}"


def _counted(layers: pd.Series) -> str:
    """``1 (23 facts), 2 (1)``."""
    counts = layers.value_counts().sort_index()
    return ", ".join(f"{'none' if layer == NEVER else layer} ({count})" for layer, count in counts.items())


def _category_table(curves: pd.DataFrame, rows: pd.DataFrame, show: int) -> Table:
    """Each category's release, and what moves most at the final position; the latest release first."""
    own = rows[(rows["direction"] == rows["direction"].iloc[0]) & (rows["place"] == ENTITY)]
    order = own.groupby("category")["release_layer"].median().sort_values(ascending=False, kind="stable").index
    more = len(order) - show
    title = f"{own['direction'].iloc[0]}, by category: what moves most at the final position, layer: share"
    title += f"; and {more} more" if more > 0 else ""
    table = Table(title=title, title_justify="left")
    table.add_column("category", overflow="fold")
    for name in ("facts", "swing", "release layer (facts)", "attn_out", "mlp_out", "head"):
        table.add_column(name, justify="right")
    final = curves[(curves["place"] == FINAL) & (curves["direction"] == own["direction"].iloc[0])]
    means = mean_curves(final, by_category=True)
    for category in order[:show]:
        part = own[own["category"] == category]
        cells = []
        for component in ("attn_out", "mlp_out", "z"):
            of = means[(means["category"] == category) & (means["component"] == component)]
            best = of.loc[of["share"].idxmax()]
            head = f".{best['head']}" if component == "z" else ""
            cells.append(f"{best['layer']}{head}: {best['share']:.2f}")
        table.add_row(
            escape(category), str(len(part)), f"{part['swing'].mean():.1f}", _counted(part["release_layer"]), *cells
        )
    return table


def _worst_lines(worst: pd.DataFrame) -> list[str]:
    """Which layer, or head, moves most at the final position, in how many facts."""
    lines = []
    for component in ("attn_out", "mlp_out", "z"):
        own = worst[(worst["component"] == component) & (worst["place"] == FINAL) & (worst["direction"] == "noising")]
        names = own["layer"].astype(str) + (("." + own["head"].astype(str)) if component == "z" else "")
        counts = ", ".join(f"{name} ({count})" for name, count in zip(names.head(5), own["n_facts"], strict=False))
        lines.append(f"noising, {component} at the final position moves most in layer {counts} (facts)")
    return lines


def _correlation_lines(curves: pd.DataFrame) -> list[str]:
    """Largest damage against the margin."""
    found = damage_correlations(curves).set_index(["direction", "component", "place"])
    said = []
    for component, place in (("resid_pre", ENTITY), ("attn_out", FINAL), ("mlp_out", FINAL), ("mlp_out", ENTITY)):
        key = ("noising", component, place)
        if key in found.index:
            row = found.loc[key]
            said.append(f"{component} at {place} {row['pearson']:.2f} (Spearman {row['spearman']:.2f})")
    return [f"largest damage and LD after the clean prompt, Pearson over facts: {'; '.join(said)}"]
