"""Intersection heatmaps: which features carry the effect in pair after pair, and in group after group."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure

from saeattr.reporting.figures.style import (
    GRID,
    effect_map,
    figure_text,
    house_style,
    new_figure,
    show_token,
)
from saeattr.reporting.numbers import median_text, pairs_text
from saeattr.tables import row_address

KEY = ["layer", "feature"]
#: Letters in the name of a row without a label, and the width of each letter more (inches).
UNLABELLED, LETTER = 20, 0.065
#: Columns have names up to so many.
MOST_NAMES = 60
#: Of more pairs than this so many are drawn.
MOST_PAIRS = 200
#: Cells that an SVG draws one by one, at most.
VECTOR_CELLS = 300
#: Where the colour bar has numbers, as parts of the largest effect.
TICKS = np.array([-1, -0.3, -0.1, 0, 0.1, 0.3, 1])


def feature_by_pair(
    effects: pd.DataFrame,
    features: pd.DataFrame,
    group: str,
    kind: str,
    top: int = 30,
    labels: Mapping[str, str] | None = None,
) -> Figure | None:
    """Effect of a group's top features of one kind in each of its pairs; None where there is no such feature.

    A cell is the feature's effect summed over its positions in that pair; grey: it was not active there. Of very many
    pairs some are drawn, evenly over the order of their ids.

    Args:
        effects: attributions.parquet, or the sums of pair_effects.parquet.
    """
    best = features[(features["group"] == group) & (features["kind"] == kind)].sort_values("rank").head(top)
    if best.empty:
        return None
    own = effects[(effects["group"] == group) & (effects["kind"] == kind)]
    pairs = sorted(own["pair_id"].unique())
    drawn = [pairs[at] for at in np.linspace(0, len(pairs) - 1, min(len(pairs), MOST_PAIRS)).astype(int)]
    own = own[own["pair_id"].isin(drawn)].merge(best[KEY])
    cells = own.groupby([*KEY, "pair_id"])["effect"].sum().unstack("pair_id").reindex(columns=drawn)
    rows = best.sort_values(["layer", "rank"])
    first = best.iloc[0].to_dict()
    in_all = int((best["n_pairs"] == len(pairs)).sum())
    title = (
        f"{group}, {kind}: {in_all} of the top {len(best)} features act in {_all_of(len(pairs))}\n"
        f"largest: {row_address(first)}, {_effect_text(first, len(pairs))}"
    )
    figure, axes = _heatmap(cells, rows, kind, title, labels)
    axes.set_xlabel("pair" + (f" (of {len(pairs)})" if len(drawn) < len(pairs) else ""))
    _name_columns(figure, axes, drawn)
    return figure


def _effect_text(row: Mapping[Hashable, Any], n_pairs: int) -> str:
    """A feature's effect over the pairs; a single one has neither a spread nor a median of its own."""
    if n_pairs == 1:
        return f"effect {row['effect_mean']:+.2f} (one pair: no interval)"
    return f"mean effect {row['effect_mean']:+.2f}, median {median_text(row, 'effect')}"


def _all_of(n_pairs: int) -> str:
    return f"all {pairs_text([n_pairs])}" if n_pairs > 1 else "the one distinct pair"


def feature_by_group(
    features: pd.DataFrame,
    kind: str,
    depth: int = 30,
    top: int = 40,
    labels: Mapping[str, str] | None = None,
    n_pairs: Sequence[int] = (),
) -> Figure | None:
    """Mean effect by group of the features that are among the top ``depth`` of two or more groups.

    Grey: not among that group's top ``depth``. At most ``top`` features are drawn, those of the most groups. None
    where no feature is shared. ``labels`` (from ``kind.layer/feature``) stand behind the features that have one;
    ``n_pairs`` are the groups' distinct pairs, to be said.
    """
    own = features[features["kind"] == kind].sort_values("rank")
    best = own.groupby("group", sort=False).head(depth)
    n_groups = best["group"].nunique()
    shared = best.groupby(KEY, as_index=False).agg(
        groups=("group", "nunique"),
        size=("effect_mean", lambda effects: float(effects.abs().mean())),
        top_role=("top_role", "first"),
        top_token=("top_token", "first"),
    )
    shared = shared[shared["groups"] > 1].sort_values(["groups", "size", *KEY], ascending=[False, False, True, True])
    if shared.empty:
        return None
    in_all = int((shared["groups"] == n_groups).sum())
    drawn = shared.head(top).sort_values(["layer", "groups", "size"], ascending=[True, False, False])
    groups = list(dict.fromkeys(features["group"]))
    cells = best.merge(drawn[KEY]).pivot(index=KEY, columns="group", values="effect_mean").reindex(columns=groups)
    title = (
        f"{kind}: of {len(shared)} features among the top {depth} of two or more groups, "
        f"{in_all} are in all {n_groups}"
        + (f"\n(the {len(drawn)} of the most groups are drawn)" if len(drawn) < len(shared) else "")
    )
    figure, axes = _heatmap(cells, drawn, kind, title, labels)
    axes.set_xlabel("group" + (f" ({pairs_text(n_pairs)} each)" if n_pairs else ""))
    _name_columns(figure, axes, groups)
    return figure


def _name_columns(figure: Figure, axes: Axes, names: Sequence[str]) -> None:
    """The columns' names, turned where they would run into each other; none where there are too many to read."""
    if len(names) > MOST_NAMES:
        what, _, more = axes.get_xlabel().partition(" ")
        axes.set_xlabel(f"{len(names)} {what}s {more}".strip())
        return
    shown = [show_token(name, 24) for name in names]
    beside_cells = 4.2
    turned = max(map(len, shown)) * LETTER > (figure.get_figwidth() - beside_cells) / len(names)
    axes.set_xticks(np.arange(len(names)) + 0.5, [figure_text(name) for name in shown])
    axes.tick_params(axis="x", rotation=90 if turned else 0, labelsize=8)


def _heatmap(
    cells: pd.DataFrame, rows: pd.DataFrame, kind: str, title: str, labels: Mapping[str, str] | None
) -> tuple[Figure, Axes]:
    """Draw ``cells`` [(layer, feature), column] in the order of ``rows``, with the layers marked."""
    cells = cells.reindex(pd.MultiIndex.from_frame(rows[KEY]))
    values = cells.to_numpy(dtype=float)
    limit = float(np.nanmax(np.abs(values))) or 1.0
    n_rows, n_columns = values.shape
    with house_style():
        named = [_row_name(row, kind, labels or {}) for row in rows.to_dict("records")]
        width = 4.2 + max(2.0, min(0.5 * n_columns, max(8.0, 0.16 * min(n_columns, MOST_NAMES))))
        # Labels take room of their own, not the cells' or the title's.
        beside = LETTER * max(0, max(map(len, named)) - UNLABELLED)
        figure = new_figure(width + beside, 1.6 + 0.21 * n_rows)
        axes = figure.subplots()
        mesh = axes.pcolormesh(
            np.ma.masked_invalid(values),
            cmap=effect_map(),
            # A few effects are tens of times larger than the rest, which would all look like nothing.
            norm=AsinhNorm(linear_width=limit / 8, vmin=-limit, vmax=limit),
            linewidth=0.4,
            edgecolor="white",
            # An SVG of thousands of cells is large, and slow to write and to show.
            rasterized=values.size > VECTOR_CELLS,
        )
        axes.invert_yaxis()
        axes.set_xticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        bar = figure.colorbar(
            mesh, ax=axes, ticks=limit * TICKS, format="%+.2g", shrink=min(1.0, max(0.4, 8 / n_rows)), pad=0.02
        )
        bar.set_label("effect on the metric (asinh scale)")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        axes.set_ylabel("feature, where it acts most" + (", label on Neuronpedia" if beside else ""))
        axes.set_yticks(np.arange(n_rows) + 0.5, [figure_text(name) for name in named], fontsize=8)
        axes.tick_params(length=0)
        _mark_layers(axes, rows["layer"].to_list(), kind, n_columns)
        lines = [part for line in title.split("\n") for part in textwrap.wrap(line, int(9 * width))]
        axes.set_title(figure_text("\n".join(lines)))
    return figure, axes


def _row_name(row: Mapping[Hashable, Any], kind: str, labels: Mapping[str, str]) -> str:
    """``241  newline X  label``."""
    label = labels.get(row_address({**row, "kind": kind}), "")
    name = f"{row['feature']}  {row['top_role']} {show_token(row['top_token'], 10)}"
    return f"{name}  {show_token(label, 40)}" if label else name


def _mark_layers(axes: Axes, layers: list[int], kind: str, n_columns: int) -> None:
    """A line between layers, and each layer's site at the right."""
    starts = [at for at in range(len(layers)) if at == 0 or layers[at] != layers[at - 1]]
    for start, end in zip(starts, [*starts[1:], len(layers)], strict=True):
        if start:
            axes.axhline(start, color=GRID, linewidth=1.0)
        site = f"{kind}.{layers[start]}"
        axes.text(n_columns + 0.15, (start + end) / 2, site, va="center", fontsize=8, color=GRID)
