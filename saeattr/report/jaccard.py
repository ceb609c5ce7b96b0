"""Topic by topic overlap, one panel a layer, beside the level that chance gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from saeattr.report.labels import figure_text, show_token
from saeattr.report.style import NOTHING, house_style, new_figure

#: Panels in a row of the grid.
ACROSS = 3
#: Numbers stand in the cells up to so many topics.
NUMBERED_TOPICS = 8


def jaccard_by_layer(overlap: pd.DataFrame, kind: str) -> Figure | None:
    """Jaccard index of every two topics' sets, layer by layer; topics of like sets stand together.

    ``overlap`` as ``overlap_table`` returns it. The diagonal is left out. None where there is nothing of this kind.
    """
    own = overlap[overlap["kind"] == kind]
    if own.empty:
        return None
    topics = list(dict.fromkeys([*own["topic_a"], *own["topic_b"]]))
    over_layers = own.groupby(["topic_a", "topic_b"])["jaccard"].mean()
    topics = [topics[at] for at in _like_together(_matrix(over_layers, topics))]
    layers = sorted(own["layer"].unique())
    across = min(ACROSS if len(layers) <= 9 else 6, len(layers))
    down = -(-len(layers) // across)
    size = max(1.7, min(2.9, 0.36 * len(topics) + 0.6)) if across <= ACROSS else 1.9
    with house_style():
        figure = new_figure(1.6 + size * across + 0.8, 1.4 + (size + 0.5) * down)
        grid = figure.subplots(down, across, squeeze=False)
        top = float(own["jaccard"].max()) or 1.0
        for at, axes in enumerate(grid.flat):
            if at >= len(layers):
                axes.axis("off")
                continue
            rows = own[own["layer"] == layers[at]]
            _panel(axes, rows, topics, layers[at], top)
            is_left, is_bottom = at % across == 0, at + across >= len(layers)
            _names(axes, topics, is_left, is_bottom, size)
        bar = figure.colorbar(grid[0, 0].images[0], ax=grid, shrink=min(1.0, 1.2 / down), pad=0.01)
        bar.set_label("Jaccard index (shared / all)")
        means = own.groupby("layer")[["jaccard", "expected"]].mean()
        best = means["jaccard"].idxmax()
        title = (
            f"{kind}: two topics share most in layer {best}, Jaccard {means.loc[best, 'jaccard']:.2f} on average; "
            f"chance gives {means.loc[best, 'expected']:.2f}"
        )
        figure.suptitle(figure_text(title), x=0.01, ha="left", fontsize=10)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, topics: list[str], layer: int, top: float) -> None:
    cells = _matrix(rows.set_index(["topic_a", "topic_b"])["jaccard"], topics)
    colours = seaborn.color_palette("cividis", as_cmap=True).with_extremes(bad=NOTHING)
    axes.imshow(cells, cmap=colours, vmin=0, vmax=top, interpolation="nearest")
    above = int((rows["p_value"] <= 0.05).sum())
    axes.set_title(
        f"layer {layer}: mean {rows['jaccard'].mean():.2f}, chance {rows['expected'].mean():.2f}\n"
        f"{above} of {len(rows)} pairs above chance (p \u2264 0.05)",
        fontsize=7,
    )
    if len(topics) <= NUMBERED_TOPICS:
        for row, column in zip(*np.nonzero(~np.isnan(cells)), strict=True):
            shade = "black" if cells[row, column] > 0.6 * top else "white"
            axes.text(column, row, f"{cells[row, column]:.2f}", ha="center", va="center", fontsize=7, color=shade)


def _names(axes: Axes, topics: list[str], is_left: bool, is_bottom: bool, size: float) -> None:
    """Topic names at the outer edges of the grid only."""
    names = [figure_text(show_token(topic, 22)) for topic in topics]
    font = min(8.0, 60 * size / len(topics))
    at = np.arange(len(topics))
    axes.set_yticks(at, names if is_left else [""] * len(at), fontsize=font)
    axes.set_xticks(at, names if is_bottom else [""] * len(at), fontsize=font, rotation=90)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _matrix(values: pd.Series, topics: list[str]) -> NDArray[np.float64]:
    """Symmetric, [topics, topics]; NaN on the diagonal and where a pair has no number."""
    cells = np.full((len(topics), len(topics)), np.nan)
    number = {topic: at for at, topic in enumerate(topics)}
    for (a, b), value in values.items():  # pyright: ignore[reportGeneralTypeIssues]
        cells[number[a], number[b]] = cells[number[b], number[a]] = value
    return cells


def _like_together(cells: NDArray[np.float64]) -> NDArray[np.int64]:
    """An order of topics in which those of like sets are neighbours (average linkage, optimal leaves)."""
    if len(cells) < 3:
        return np.arange(len(cells))
    distance = 1 - np.nan_to_num(cells)
    np.fill_diagonal(distance, 0)
    return leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=True))
