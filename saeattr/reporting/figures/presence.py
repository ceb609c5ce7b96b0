"""Which features recur: in which groups' sets each feature is."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from saeattr.features.recurrence import BETWEEN, SHARED, SHARED_SHARE, TOPIC_SPECIFIC, feature_families
from saeattr.reporting.figures.style import GRID, figure_text, house_style, new_figure, show_token

#: Families from dark to light, so that they differ without colour too.
FAMILY_COLOURS = {SHARED: "#08306b", BETWEEN: "#6baed6", TOPIC_SPECIFIC: "#de8f05"}
#: Rows get labels up to this many; beyond it they are thin lines.
LABELLED_ROWS = 45
#: A presence heatmap has at most so many rows: those of the most groups in each layer.
MAX_ROWS = 480


def feature_presence(features: pd.DataFrame, kind: str, depth: int | None = 30) -> Figure | None:
    """Feature by group: in whose top ``depth`` at its site a feature is; layers marked, most shared first.

    ``features`` as for ``overlap_table``. None where no group has a feature of this kind or there is one group.
    """
    groups = list(dict.fromkeys(features["group"]))
    own = feature_families(features[features["kind"] == kind], depth)
    if own.empty or len(groups) < 2:
        return None
    rows, dropped = _capped(own.sort_values(["layer", "n_groups"], ascending=[True, False], kind="stable"))
    code = {name: at + 1 for at, name in enumerate(FAMILY_COLOURS)}
    cells = np.zeros((len(rows), len(groups)))
    columns = {group: at for at, group in enumerate(groups)}
    for at, (name, members) in enumerate(zip(rows["family"], rows["groups"], strict=True)):
        cells[at, [columns[group] for group in members]] = code[name]
    with house_style():
        height = 2.4 + min(9.0, max(0.19 * len(rows), 0.5 * rows["layer"].nunique()))
        figure = new_figure(3.6 + 0.26 * len(groups), height)
        axes = figure.subplots()
        colours = ListedColormap(["#f4f4f4", *FAMILY_COLOURS.values()])
        axes.imshow(cells, aspect="auto", cmap=colours, vmin=0, vmax=3, interpolation="nearest")
        _group_ticks(axes, groups)
        _feature_ticks(axes, rows)
        _layer_notes(axes, own, rows, len(groups))
        axes.set_title(figure_text(_presence_title(own, kind, depth, len(groups), dropped)))
        figure.legend(
            handles=[Patch(color=colour, label=name) for name, colour in FAMILY_COLOURS.items()],
            loc="outside lower left",
            ncols=3,
            frameon=False,
        )
    return figure


def _capped(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """At most ``MAX_ROWS`` rows, the most shared of each layer, and how many were dropped."""
    if len(rows) <= MAX_ROWS:
        return rows, 0
    room = MAX_ROWS // rows["layer"].nunique()
    kept = rows.groupby("layer", sort=False).head(room)
    return kept, len(rows) - len(kept)


def _group_ticks(axes: Axes, groups: list[str]) -> None:
    axes.set_xticks(
        np.arange(len(groups)),
        [figure_text(show_token(group, 24)) for group in groups],
        rotation=60 if len(groups) > 6 else 0,
        ha="right" if len(groups) > 6 else "center",
        rotation_mode="anchor" if len(groups) > 6 else "default",
        fontsize=8,
    )
    axes.tick_params(length=0)


def _feature_ticks(axes: Axes, rows: pd.DataFrame) -> None:
    if len(rows) <= LABELLED_ROWS:
        axes.set_yticks(np.arange(len(rows)), rows["feature"].astype(str), fontsize=8)
        axes.set_ylabel("feature")
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(rows)} features, in each layer those of the most groups first")


def _layer_notes(axes: Axes, own: pd.DataFrame, rows: pd.DataFrame, n_groups: int) -> None:
    """A line between layers; at the right, each layer with its shared features."""
    layers = rows["layer"].to_numpy()
    starts = np.flatnonzero(np.r_[True, layers[1:] != layers[:-1]])
    for start, end in zip(starts, [*starts[1:], len(layers)], strict=True):
        if start:
            axes.axhline(start - 0.5, color=GRID, linewidth=1.0)
        families = own.loc[own["layer"] == layers[start], "family"]
        note = f"layer {layers[start]}: {int((families == SHARED).sum())} of {len(families)} shared"
        axes.text(n_groups - 0.3, (start + end - 1) / 2, note, va="center", fontsize=8, color=GRID)


def _presence_title(own: pd.DataFrame, kind: str, depth: int | None, n_groups: int, dropped: int) -> str:
    shared = own[own["family"] == SHARED]
    single = int((own["family"] == TOPIC_SPECIFIC).sum())
    among = "in any group's set" if depth is None else f"in any group's top {depth} of a layer"
    text = (
        f"{kind}: {len(shared)} of {len(own)} features {among} are shared by at least "
        f"{SHARED_SHARE:.0%} of {n_groups} groups; {single} belong to one group"
    )
    if len(shared):
        counts = shared["layer"].value_counts()
        text += f"; layer {counts.idxmax()} shares the most ({counts.max()})"
    if dropped:
        text += f". Not drawn: {dropped} of the fewest groups"
    return "\n".join(textwrap.wrap(text, max(52, min(5 * n_groups, 110))))
