"""Which features are active in which pairs ("expression matrix"): do pairs of one group fall together?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from saeattr.reporting.figures.style import GRID, PALETTE, figure_text, house_style, new_figure, show_token
from saeattr.tables import FEATURE

#: Rows get labels up to this many.
LABELLED_ROWS = 60


def pair_activations(attributions: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """Largest clean activation of each chosen feature in each pair: [(layer, kind, feature), (group, pair_id)]."""
    own = attributions.merge(chosen[FEATURE], on=FEATURE)
    pairs = attributions[["group", "pair_id"]].drop_duplicates()
    cells = own.groupby([*FEATURE, "group", "pair_id"])["act_clean"].max().unstack(["group", "pair_id"])
    return cells.reindex(columns=pd.MultiIndex.from_frame(pairs)).fillna(0.0)


def activation_clusters(activations: pd.DataFrame, kind: str) -> Figure | None:
    """Features by pairs of one kind, both ordered by hierarchical clustering.

    Average linkage of Euclidean distances, after the mean over the other axis is taken off.

    Args:
        activations: as ``pair_activations`` makes it. Each row is divided by its largest value.

    Returns:
        None where fewer than two features or pairs can be compared.
    """
    own = activations[activations.index.get_level_values("kind") == kind]
    own = own[own.max(axis=1) > 0]
    if min(own.shape) < 2:
        return None
    cells = own.to_numpy(dtype=float)
    cells = cells / cells.max(axis=1, keepdims=True)
    by_row, by_column = _tree(cells), _tree(cells.T)
    groups = list(dict.fromkeys(own.columns.get_level_values("group")))
    with house_style():
        width, body = 9.5, min(9.0, max(2.5, 0.17 * len(cells)))
        strip = max(0.35, 0.12 * len(groups))
        figure = new_figure(width, body + strip + 1.8)
        grid = figure.subplots(
            3, 2, width_ratios=[0.9, 7], height_ratios=[0.7, strip, body], gridspec_kw={"wspace": 0.01, "hspace": 0.01}
        )
        row_order = _draw_tree(grid[2, 0], by_row, "left")
        column_order = _draw_tree(grid[0, 1], by_column, "top")
        image = grid[2, 1].imshow(
            cells[row_order][:, column_order], aspect="auto", cmap="cividis", vmin=0, vmax=1, interpolation="nearest"
        )
        _label_rows(grid[2, 1], [own.index[at] for at in row_order])
        grid[2, 1].set_xticks([])
        grid[2, 1].set_xlabel(f"{cells.shape[1]} pairs")
        _group_strip(grid[1, 1], list(own.columns.get_level_values("group")[column_order]))
        for axes in (grid[0, 0], grid[1, 0]):
            axes.axis("off")
        bar = figure.colorbar(image, ax=grid[:, 1], shrink=0.4, pad=0.01, location="right")
        bar.set_label("largest activation in the pair / largest of the feature")
        figure.suptitle(figure_text(_title(cells, own, kind, groups)), x=0.01, ha="left", fontsize=10)
    return figure


def same_group_neighbours(cells: NDArray[np.float64], groups: NDArray[np.object_]) -> tuple[float, float]:
    """Share of pairs whose most correlated other pair is of the same group, and that share by chance."""
    close = np.corrcoef(_centred_columns(cells).T)
    np.fill_diagonal(close, -np.inf)
    same = float((groups[np.nanargmax(np.nan_to_num(close, nan=-2), axis=1)] == groups).mean())
    counts = pd.Series(groups).value_counts().to_numpy()
    chance = float((counts * (counts - 1)).sum() / (len(groups) * (len(groups) - 1)))
    return same, chance


def _centred_columns(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each feature's mean taken off, so that pairs are compared by what differs between them."""
    return cells - cells.mean(axis=1, keepdims=True)


def _tree(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    # Of a study of one group nothing is clustered, and the import takes a while.
    from scipy.cluster.hierarchy import linkage

    return linkage(rows - rows.mean(axis=0), "average", metric="euclidean", optimal_ordering=len(rows) <= 600)


def _draw_tree(axes: Axes, tree: NDArray[np.float64], side: str) -> list[int]:
    """Draw the tree and return the order of its leaves."""
    from scipy.cluster.hierarchy import dendrogram

    plot = dendrogram(tree, ax=axes, orientation=side, no_labels=True, color_threshold=0, above_threshold_color=GRID)
    if side == "left":
        axes.invert_yaxis()
    for lines in axes.collections:
        lines.set_linewidth(0.6)
    axes.axis("off")
    return plot["leaves"]


def _label_rows(axes: Axes, index: list[tuple]) -> None:
    if len(index) <= LABELLED_ROWS:
        names = [f"{layer}/{feature}" for layer, _, feature in index]
        axes.set_yticks(np.arange(len(index)), names, fontsize=7)
        axes.set_ylabel("layer/feature")
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(index)} features")
    axes.yaxis.set_label_position("right")
    axes.yaxis.tick_right()
    axes.tick_params(length=0)


def _group_strip(axes: Axes, of_pairs: list[str]) -> None:
    """One thin line a group with a mark at each of its pairs: names, not colours, tell the groups apart."""
    # From the group whose pairs stand furthest left to the one furthest right.
    groups = list(pd.Series(np.arange(len(of_pairs))).groupby(np.array(of_pairs)).median().sort_values().index)
    cells = np.ones((len(groups), len(of_pairs), 3)) * 0.96
    for row, group in enumerate(groups):
        cells[row, [at for at, name in enumerate(of_pairs) if name == group]] = to_rgb(PALETTE[row % len(PALETTE)])
    axes.imshow(cells, aspect="auto", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks(np.arange(len(groups)), [figure_text(show_token(group, 22)) for group in groups], fontsize=6.5)
    axes.yaxis.tick_right()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _title(cells: NDArray[np.float64], own: pd.DataFrame, kind: str, groups: list[str]) -> str:
    if len(groups) < 2:
        return f"{kind}: activation of {len(cells)} features in {cells.shape[1]} pairs of {groups[0]}"
    names = own.columns.get_level_values("group").to_numpy(dtype=object)
    same, chance = same_group_neighbours(cells, names)
    return (
        f"{kind}: for {same:.0%} of {cells.shape[1]} pairs the most alike pair is of the same group "
        f"(by chance {chance:.0%}); {len(cells)} features"
    )
