"""How far groups share features: layer by layer, and group by group."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from saeattr.reporting.figures.style import GRID, NOTHING, PALETTE, figure_text, house_style, new_figure, show_token

#: Panels in a row of the grid.
ACROSS = 3
#: Numbers stand in the cells up to so many groups.
NUMBERED_GROUPS = 8


def overlap_by_layer(overlap: pd.DataFrame) -> Figure | None:
    """Mean Jaccard index over pairs of groups by layer and kind, with the middle half of pairs and the chance level.

    ``overlap`` as ``overlap_table`` returns it; None where it is empty.
    """
    if overlap.empty:
        return None
    kinds = sorted(overlap["kind"].unique())
    means = overlap.groupby(["kind", "layer"])[["jaccard", "expected"]].mean()
    with house_style():
        figure = new_figure(7.2, 3.8)
        axes = figure.subplots()
        markers = "osD^v"
        for at, (kind, colour) in enumerate(zip(kinds, PALETTE, strict=False)):
            own = overlap[overlap["kind"] == kind].groupby("layer")["jaccard"]
            low, high = own.quantile(0.25), own.quantile(0.75)
            axes.fill_between(low.index, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(means.loc[kind].index, means.loc[kind]["jaccard"], color=colour, marker=markers[at], label=kind)
            axes.plot(
                means.loc[kind].index, means.loc[kind]["expected"], color=colour, linestyle=":", marker=markers[at]
            )
        axes.plot([], [], color=GRID, linestyle=":", label="by chance")
        layers = sorted(overlap["layer"].unique())
        axes.set_xticks(layers if len(layers) <= 30 else layers[:: len(layers) // 15])
        axes.set_ylim(0, None)
        axes.set_xlabel("layer")
        axes.set_ylabel("Jaccard index of two groups' feature sets")
        axes.legend(frameon=False, ncols=2, fontsize=8)
        kind, layer = means["jaccard"].idxmax()  # pyright: ignore[reportGeneralTypeIssues]
        best = means.loc[(kind, layer)]
        n_pairs = len(overlap[["group_a", "group_b"]].drop_duplicates())
        title = (
            f"Groups share most in {kind}.{layer}: Jaccard {best['jaccard']:.2f}, by chance {best['expected']:.2f}\n"
            f"(mean of {n_pairs} pairs of groups; bands: the middle half of pairs)"
        )
        axes.set_title(figure_text(title))
    return figure


def jaccard_by_layer(overlap: pd.DataFrame, kind: str) -> Figure | None:
    """Jaccard index of every two groups' sets, layer by layer; groups of like sets stand together.

    ``overlap`` as ``overlap_table`` returns it. The diagonal is left out. None where there is nothing of this kind.
    """
    own = overlap[overlap["kind"] == kind]
    if own.empty:
        return None
    groups = list(dict.fromkeys([*own["group_a"], *own["group_b"]]))
    over_layers = own.groupby(["group_a", "group_b"])["jaccard"].mean()
    groups = [groups[at] for at in _like_together(_matrix(over_layers, groups))]
    layers = sorted(own["layer"].unique())
    across = min(ACROSS if len(layers) <= 9 else 6, len(layers))
    down = -(-len(layers) // across)
    size = max(1.7, min(2.9, 0.36 * len(groups) + 0.6)) if across <= ACROSS else 1.9
    with house_style():
        figure = new_figure(1.6 + size * across + 0.8, 1.4 + (size + 0.5) * down)
        grid = figure.subplots(down, across, squeeze=False)
        top = float(own["jaccard"].max()) or 1.0
        for at, axes in enumerate(grid.flat):
            if at >= len(layers):
                axes.axis("off")
                continue
            rows = own[own["layer"] == layers[at]]
            _panel(axes, rows, groups, layers[at], top)
            is_left, is_bottom = at % across == 0, at + across >= len(layers)
            _names(axes, groups, is_left, is_bottom, size)
        bar = figure.colorbar(grid[0, 0].collections[0], ax=grid, shrink=min(1.0, 1.2 / down), pad=0.01)
        bar.set_label("Jaccard index (shared / all)")
        means = own.groupby("layer")[["jaccard", "expected"]].mean()
        best = means["jaccard"].idxmax()
        title = (
            f"{kind}: two groups share most in layer {best}, Jaccard {means.loc[best, 'jaccard']:.2f} on average; "
            f"chance gives {means.loc[best, 'expected']:.2f}"
        )
        lines = textwrap.wrap(title, int(12 * figure.get_figwidth()))
        figure.suptitle(figure_text("\n".join(lines)), x=0.01, ha="left", fontsize=10)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, groups: list[str], layer: int, top: float) -> None:
    cells = _matrix(rows.set_index(["group_a", "group_b"])["jaccard"], groups)
    # Importing it takes a second, and a study of one group has no such figure.
    import seaborn

    axes.set_facecolor(NOTHING)
    seaborn.heatmap(
        cells,
        ax=axes,
        cmap="cividis",
        vmin=0,
        vmax=top,
        annot=len(groups) <= NUMBERED_GROUPS,
        fmt=".2f",
        annot_kws={"fontsize": 7},
        cbar=False,
        square=True,
        xticklabels=False,
        yticklabels=False,
    )
    above = int((rows["q_value"] <= 0.05).sum())
    axes.set_title(
        f"layer {layer}: mean {rows['jaccard'].mean():.2f}, chance {rows['expected'].mean():.2f}\n"
        f"{above} of {len(rows)} pairs above chance (q \u2264 0.05)",
        fontsize=7,
    )


def _names(axes: Axes, groups: list[str], is_left: bool, is_bottom: bool, size: float) -> None:
    """Group names at the outer edges of the grid only."""
    names = [figure_text(show_token(group, 22)) for group in groups]
    font = min(8.0, 60 * size / len(groups))
    at = np.arange(len(groups)) + 0.5
    axes.set_yticks(at, names if is_left else [""] * len(at), fontsize=font)
    axes.set_xticks(at, names if is_bottom else [""] * len(at), fontsize=font, rotation=90)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _matrix(values: pd.Series, groups: list[str]) -> NDArray[np.float64]:
    """Symmetric, [groups, groups]; NaN on the diagonal and where a pair has no number."""
    cells = np.full((len(groups), len(groups)), np.nan)
    number = {group: at for at, group in enumerate(groups)}
    for (a, b), value in values.items():  # pyright: ignore[reportGeneralTypeIssues]
        cells[number[a], number[b]] = cells[number[b], number[a]] = value
    return cells


def _like_together(cells: NDArray[np.float64]) -> NDArray[np.int64]:
    """An order of groups in which those of like sets are neighbours (average linkage, optimal leaves)."""
    if len(cells) < 3:
        return np.arange(len(cells))
    # Of a study of one group nothing is clustered, and the import takes a while.
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = 1 - np.nan_to_num(cells)
    np.fill_diagonal(distance, 0)
    return leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=True))
