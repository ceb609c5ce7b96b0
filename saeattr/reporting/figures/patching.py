"""Patching: normalised effects by layer and place or head, gradients against exact effects, heads that carry."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure

from saeattr.patching.components import COMPONENTS
from saeattr.patching.heads import head_summary
from saeattr.patching.places import EVERYWHERE
from saeattr.patching.summary import paired_effects, patching_agreement, patching_summary
from saeattr.reporting.figures.style import CLEAN, CORRUPTED, GRID, effect_map, figure_text, house_style, new_figure
from saeattr.reporting.numbers import pairs_text
from saeattr.runs.roles import DECISION
from saeattr.tables import PAIR

NORMALISED = ("normalised", "normalised_low", "normalised_high")
#: Layers and heads are numbered one by one up to so many.
NUMBERED = 30
#: Panels in a row; rows of a map of heads by role; heads that are named in a scatter.
ACROSS, MOST_ROWS, NAMED = 3, 16, 8
#: Where the colour bar has numbers, as parts of the largest change.
TICKS = np.array([-1, -0.3, -0.1, 0, 0.1, 0.3, 1])
DIRECTION_WORDS = {"noising": "corrupted into clean", "denoising": "clean into corrupted"}


def effect_maps(table: pd.DataFrame, group: str) -> Figure | None:
    """Normalised effects of one way of patching, a panel for each component; None where there are none.

    Light is the run that is patched as it was: 0 where corrupted activations are put into the clean run, 1 where it is
    the other way round. Every panel has the same scale.

    Args:
        table: ``tables.PATCHING`` of one group, one direction, one method, and one ``by``.
    """
    if table.empty:
        return None
    by, direction, method = (str(table[name].iloc[0]) for name in ("by", "direction", "method"))
    cells = patching_summary(table)
    names = [name for name in COMPONENTS if name in set(cells["component"])]
    maps = {name: _map(cells[cells["component"] == name], by) for name in names}
    start = 0.0 if direction == "noising" else 1.0
    reach = max(1.0, *(float(np.nanmax(np.abs(frame.to_numpy() - start))) for frame in maps.values()))
    # A few effects are tens of times larger than the rest, which would all look like nothing.
    norm = AsinhNorm(linear_width=reach / 8, vmin=-reach, vmax=reach)
    image = ScalarMappable(norm, effect_map())
    across = min(ACROSS, len(names))
    down = -(-len(names) // across)
    panel_width = max(0.9 + 0.27 * max(frame.shape[1] for frame in maps.values()), 2.2)
    panel_height = 1.3 + 0.19 * max(4, *(len(frame) for frame in maps.values()))
    with house_style():
        width = across * panel_width + 1.2
        figure = new_figure(width, down * panel_height + 0.9)
        grid = figure.subplots(down, across, squeeze=False)
        for axes, (name, frame) in zip(grid.flat, maps.items(), strict=False):
            _draw_map(axes, frame - start, name, norm, by)
        for axes in list(grid.flat)[len(names) :]:
            axes.axis("off")
        bar = figure.colorbar(image, ax=grid, fraction=0.05, pad=0.02, ticks=reach * TICKS)
        bar.set_ticklabels([f"{start + reach * tick:.2g}" for tick in TICKS])
        bar.set_label("normalised (asinh scale): 0 as clean, 1 as corrupted", fontsize=8)
        finding = _finding(cells[cells["component"].isin(names)], group, direction, method)
        figure.suptitle(
            figure_text("\n".join(textwrap.wrap(finding, int(13.5 * width)))), x=0.01, ha="left", fontsize=10
        )
    return figure


def _map(cells: pd.DataFrame, by: str) -> pd.DataFrame:
    """Normalised effects [row, column]: layers by place, by head or by token, or heads by place."""
    if by == "head":
        return cells.pivot(index="layer", columns="head", values="normalised").sort_index()
    if by == "head-role":
        cells = cells[~cells["joint"].astype(bool)]
        named = cells.assign(row=cells["layer"].astype(str) + "." + cells["head"].astype(str))
        strongest = named.groupby("row")["effect"].apply(lambda effects: effects.abs().max())
        kept = strongest.sort_values(ascending=False, kind="stable").head(MOST_ROWS).index
        rows = [row for row in dict.fromkeys(named["row"]) if row in kept]
        frame = named.pivot(index="row", columns="place", values="normalised")
        return frame.loc[rows, _order(named)]
    if by == "token" and (cells["position"] >= 0).any():
        named = cells.assign(place=cells["position"].astype(str) + " " + cells["place"])
        return named.pivot(index="layer", columns="place", values="normalised")[list(dict.fromkeys(named["place"]))]
    return cells.pivot(index="layer", columns="place", values="normalised").sort_index()[_order(cells)]


def _order(cells: pd.DataFrame) -> list[str]:
    """Places as they come in prompts; the decision, which any of them can be, behind them, and joint ones last."""
    joint = set(cells.loc[cells["joint"].astype(bool), "place"])
    places = list(dict.fromkeys(cells["place"]))
    rank = {place: (place in joint) * 2 + (place == DECISION) + 2 * (place == EVERYWHERE) for place in places}
    return sorted(places, key=lambda place: rank[place])


def _draw_map(axes: Axes, frame: pd.DataFrame, name: str, norm: AsinhNorm, by: str) -> None:
    axes.imshow(frame.to_numpy(), cmap=effect_map(), norm=norm, aspect="auto", origin="lower")
    columns = [str(column) for column in frame.columns]
    step = 1 if len(columns) <= 3 * NUMBERED else 5
    shown = range(0, len(columns), step)
    axes.set_xticks(list(shown), [figure_text(columns[at]) for at in shown], rotation=0 if by == "head" else 90)
    every = 1 if len(frame) <= NUMBERED else 5
    rows = range(0, len(frame), every)
    axes.set_yticks(list(rows), [str(frame.index[at]) for at in rows])
    axes.tick_params(length=0, labelsize=8)
    axes.set_title(name, fontsize=9)
    axes.set_ylabel("layer.head" if by == "head-role" else "layer", fontsize=8)
    if by == "head":
        axes.set_xlabel(f"{COMPONENTS[name].heads} head", fontsize=8)


def _finding(cells: pd.DataFrame, group: str, direction: str, method: str) -> str:
    """What is patched, and where the effect is largest among places that are no sum of others."""
    single = cells[~cells["joint"].astype(bool)]
    row = single.loc[single["effect"].abs().idxmax()]
    head = f" head {row['head']}" if row["head"] >= 0 else ""
    place = "" if row["place"] == EVERYWHERE else f" at {row['place']}"
    how = "by gradient" if method == "attribution" else "exact"
    # Adding 0 takes the sign from what is printed as zero.
    value, low, high = (round(float(row[name]), 2) + 0.0 for name in NORMALISED)
    ends = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    return (
        f"{group}: patching, {direction} ({DIRECTION_WORDS[direction]}), {how}. Largest: {row['component']} in layer "
        f"{row['layer']}{head}{place}: normalised {value:.2f}{ends}; mean of {pairs_text(cells['n_pairs'])}"
    )


def gradient_scatter(table: pd.DataFrame, group: str) -> Figure | None:
    """Effects by gradient against exact ones, a panel for each component; None without both methods.

    Args:
        table: ``tables.PATCHING`` of one group, one direction and one ``by``.
    """
    both, agreement = paired_effects(table), patching_agreement(table)
    if both.empty:
        return None
    n_pairs = both.groupby(PAIR).ngroups
    cells = both.groupby(["component", "layer", "head", "place"], as_index=False)[["exact", "attribution"]].sum()
    cells[["exact", "attribution"]] /= n_pairs
    pearson = dict(zip(agreement["component"], agreement["pearson"], strict=True))
    names = [name for name in COMPONENTS if name in pearson]
    across = min(4, len(names))
    down = -(-len(names) // across)
    top = int(cells["layer"].max()) or 1
    image = ScalarMappable(Normalize(0, top), "viridis")
    with house_style():
        width = 2.2 * across + 1.0
        figure = new_figure(width, 2.2 * down + 1.0)
        grid = figure.subplots(down, across, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            own = cells[cells["component"] == name]
            _scatter(axes, own, image)
            axes.set_title(f"{name}: r = {pearson[name]:.2f}, n = {len(own)}", fontsize=8)
        for axes in list(grid.flat)[len(names) :]:
            axes.axis("off")
        figure.colorbar(image, ax=grid, label="layer", fraction=0.03, pad=0.02)
        figure.supxlabel(f"exact effect (change of the metric), mean of {pairs_text([n_pairs])}", fontsize=9)
        figure.supylabel("estimate by gradient", fontsize=9)
        first = table.iloc[0]
        title = (
            f"{group}: patching by {first['by']}, {first['direction']}, gradient against exact: Pearson "
            f"{min(pearson.values()):.2f} to {max(pearson.values()):.2f} over cells (layer, place, head)"
        )
        figure.suptitle(figure_text("\n".join(textwrap.wrap(title, int(13 * width)))), x=0.01, ha="left", fontsize=10)
    return figure


def _scatter(axes: Axes, own: pd.DataFrame, image: ScalarMappable) -> None:
    values = own[["exact", "attribution"]].to_numpy(dtype=float)
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    margin = 0.08 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color="0.7", linewidth=0.8, zorder=0)
    axes.axhline(0, color="0.9", linewidth=0.6, zorder=-1)
    axes.axvline(0, color="0.9", linewidth=0.6, zorder=-1)
    axes.scatter(own["exact"], own["attribution"], s=12, c=image.to_rgba(own["layer"].to_numpy()), lw=0)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.locator_params(nbins=4)
    axes.tick_params(labelsize=7)


def heads_figure(table: pd.DataFrame, group: str) -> Figure | None:
    """Each head's attention to the tokens that differ against what it does to the metric; None without rows.

    Args:
        table: ``tables.HEAD_MOVES`` of one group.
    """
    heads = head_summary(table)
    if heads.empty:
        return None
    with house_style():
        figure = new_figure(9.0, 4.2)
        left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])
        for run, colour in (("clean", CLEAN), ("corrupted", CORRUPTED)):
            left.scatter(heads[f"attention_{run}"], heads["exact"], s=16, color=colour, lw=0, label=f"{run} run")
        for row in heads.head(NAMED).to_dict("records"):
            at = max(row["attention_clean"], row["attention_corrupted"])
            name, to = f"{row['layer']}.{row['head']}", (at, row["exact"])
            left.annotate(name, to, xytext=(3, 2), textcoords="offset points", fontsize=7)
        left.axhline(0, color="0.8", linewidth=0.7, zorder=0)
        left.set(
            xlabel="attention from the decision to the tokens that differ", ylabel="exact effect (share of the gap)"
        )
        left.legend(fontsize=8, edgecolor="none")
        _head_bars(right, heads.head(MOST_ROWS))
        figure.suptitle(figure_text(_heads_title(heads, group)), x=0.01, ha="left", fontsize=10)
    return figure


def _head_bars(axes: Axes, heads: pd.DataFrame) -> None:
    """The strongest heads: exact, direct and OV effects as shares of the gap."""
    rows = np.arange(len(heads))
    for shift, (name, colour, label) in enumerate(
        (
            ("exact", CORRUPTED, "z at the decision patched (exact)"),
            ("direct", CLEAN, "straight through the unembedding"),
            ("ov", GRID, "of it, read at the tokens that differ (OV)"),
        )
    ):
        values = heads[name].to_numpy(dtype=float)
        ends = np.abs(heads[[f"{name}_low", f"{name}_high"]].to_numpy(dtype=float).T - values)
        axes.errorbar(values, rows + 0.25 * (shift - 1), xerr=ends, fmt="o", ms=3, lw=0.8, color=colour, label=label)
    axes.axvline(0, color="0.8", linewidth=0.7, zorder=0)
    axes.set_yticks(rows, [f"{row['layer']}.{row['head']}" for row in heads.to_dict("records")], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="share of the clean-corrupted gap, 95 % interval", ylabel="layer.head")
    axes.legend(fontsize=7, edgecolor="none")


def _heads_title(heads: pd.DataFrame, group: str) -> str:
    best = heads.iloc[0]
    text = (
        f"{group}: which heads carry what differs to the decision. Largest: {best['layer']:.0f}.{best['head']:.0f}, "
        f"{best['exact']:.0%} of the gap, attention {best['attention_clean']:.2f} in the clean and "
        f"{best['attention_corrupted']:.2f} in the corrupted run; mean of {pairs_text([heads['n_pairs'].max()])}"
    )
    return "\n".join(textwrap.wrap(text, 118))
