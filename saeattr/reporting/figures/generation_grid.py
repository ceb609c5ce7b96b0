"""Ablation while generating over layers x number of features: items added by the features, beside their controls."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from saeattr.generation.summary import COMPARISON, CONDITION_WORDS
from saeattr.reporting.figures.style import effect_map, figure_text, house_style, new_figure
from saeattr.reporting.numbers import interval_text, span_text
from saeattr.tables import SITE, row_site

SHOWN = ("features", "controls")
KEY = ["layer", "n_features"]
#: Before a number that lists that were cut off make too small.
AT_LEAST = "\u2265"
#: Inches of a cell; without the intervals where there are more rows than this.
WIDTH, HEIGHT, LOW_HEIGHT, MOST_TALL_ROWS = 0.98, 0.37, 0.21, 30


def generation_grid(summary: pd.DataFrame, max_new_tokens: int | None = None) -> Figure | None:
    """Items that the features add to lists with nothing ablated, and beside it their controls, on one colour scale.

    A panel for each kind: rows are layers, columns numbers of features ablated together. None where nothing is.

    Args:
        summary: ``tables.GENERATION`` of one group, or of the lists of several pooled (``pool_groups``).
        max_new_tokens: where lists were cut off, to be said.
    """
    ended = summary[summary["measure"] == "ended"].rename(columns={"mean": "ended"})
    same = [*COMPARISON, "condition"]
    items = summary[summary["measure"] == "items"].merge(ended[[*same, "ended"]], on=same)
    own = items[items["condition"] == "features"]
    if own.empty:
        return None
    kinds, sizes = list(dict.fromkeys(own["kind"])), sorted(own["n_features"].unique())
    layers = {kind: sorted(own.loc[own["kind"] == kind, "layer"].unique()) for kind in kinds}
    limit = float(items["added"].abs().max()) or 1.0
    n_rows = sum(map(len, layers.values()))
    tall = n_rows <= MOST_TALL_ROWS
    with house_style():
        height = HEIGHT if tall else LOW_HEIGHT
        figure = new_figure(1.9 + 2 * WIDTH * max(len(sizes), 2), 1.6 + 0.5 * len(kinds) + height * n_rows)
        ratios = [len(layers[kind]) + 0.6 for kind in kinds]
        grid = figure.subplots(len(kinds), len(SHOWN), squeeze=False, height_ratios=ratios)
        for row, kind in zip(grid, kinds, strict=True):
            for axes, condition in zip(row, SHOWN, strict=True):
                own = items[(items["kind"] == kind) & (items["condition"] == condition)]
                cells = own.set_index(KEY).reindex(pd.MultiIndex.from_product([layers[kind], sizes], names=KEY))
                _panel(axes, cells, limit, tall)
            row[0].set_title(figure_text(f"{kind}: the features"))
            row[1].set_title(CONDITION_WORDS["controls"])
            row[0].set_ylabel("layer")
        for axes in grid[-1]:
            axes.set_xlabel("features ablated together")
        scale = ScalarMappable(Normalize(-limit, limit), effect_map())
        bar = figure.colorbar(scale, ax=grid, shrink=min(1.0, 2.5 / (height * n_rows)), pad=0.02, format="%+g")
        bar.set_label("items added to a list")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        wide = int(15 * figure.get_figwidth())
        title = [part for line in _title(items, max_new_tokens) for part in textwrap.wrap(line, wide)]
        figure.suptitle(figure_text("\n".join(title)), x=0.01, ha="left", fontsize=9.5)
    return figure


def _panel(axes: Axes, cells: pd.DataFrame, limit: float, tall: bool) -> None:
    """One condition of one kind, in the order of ``cells`` [(layer, n_features)]; what was not measured is grey."""
    layers, sizes = (list(cells.index.get_level_values(name).unique()) for name in KEY)
    values = cells["added"].to_numpy(dtype=float).reshape(len(layers), len(sizes))
    norm = Normalize(-limit, limit)
    axes.pcolormesh(np.ma.masked_invalid(values), cmap=effect_map(), norm=norm, linewidth=0.8, edgecolor="white")
    for at, cell in enumerate(cells.to_dict("records")):
        if np.isnan(cell["added"]):
            continue
        text = f"{AT_LEAST if cell['ended'] < 1 else ''}{cell['added']:+.1f}"
        if tall:
            text += f"\n{interval_text(cell['added_low'], cell['added_high'], 1)}"
        row, column = divmod(at, len(sizes))
        ink = "white" if abs(cell["added"]) > 0.62 * limit else "black"
        place = {"ha": "center", "va": "center", "fontsize": 7, "linespacing": 1.15}
        axes.text(column + 0.5, row + 0.5, text, color=ink, **place)
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(sizes)) + 0.5, list(map(str, sizes)))
    axes.set_yticks(np.arange(len(layers)) + 0.5, list(map(str, layers)))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _title(items: pd.DataFrame, max_new_tokens: int | None) -> list[str]:
    """The strongest cell and what its controls do; what the numbers are; and which lists were cut off."""
    features = items[items["condition"] == "features"]
    best = features.loc[features["added"].abs().idxmax()]
    same = items[(items[[*SITE, "n_features", "base"]] == best[[*SITE, "n_features", "base"]]).all(axis=1)]
    by_condition = same.set_index("condition")
    number = f"{best['n_features']} feature{'s' if best['n_features'] > 1 else ''}"
    first = f"{row_site(best.to_dict())}, {number}: {_added(best)} items to a list of {_mean(by_condition, 'nothing')}"
    if "controls" in by_condition.index:
        first += f"; controls of equal length {_added(by_condition.loc['controls'])}"
    groups = list(dict.fromkeys(items["group"]))
    n_lists = span_text(items["n_lists"])
    what = (
        f"{', '.join(groups)}: largest of {len(features)} cells; features held at {best['base']}; means of {n_lists} "
        f"list{'' if n_lists == '1' else 's'}, list by list, 95 %"
    )
    lines = [first, what]
    cut = 1 - items.loc[items["condition"].isin(SHOWN), "ended"]
    if (cut > 0).any():
        at = "" if max_new_tokens is None else f" of {max_new_tokens} tokens"
        line = f"{AT_LEAST}: up to {cut.max():.0%} of these lists were cut off at the limit{at}, so it is a lower bound"
        plain = 1 - items.loc[items["condition"] == "nothing", "ended"]
        lines.append(line + (f" (of lists with nothing ablated {plain.max():.0%} were)" if plain.max() else ""))
    return lines


def _mean(by_condition: pd.DataFrame, condition: str) -> str:
    return f"{by_condition.loc[condition, 'mean']:.1f}"


def _added(row: pd.Series) -> str:
    return f"{row['added']:+.1f} {interval_text(row['added_low'], row['added_high'], 1)}"
