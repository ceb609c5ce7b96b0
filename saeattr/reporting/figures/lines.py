"""The metric along the pair, clean against corrupted: does the model see the end coming, and does " long" hide it?"""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from saeattr.behaviours.lists.roles import ROLES
from saeattr.reporting.figures.style import CLEAN, CORRUPTED, effect_map, figure_text, house_style, new_figure
from saeattr.selection.roles import DECISION
from saeattr.sites import KINDS
from saeattr.stats import bootstrap_interval

#: A point is drawn where at least so many pairs reach it.
FEWEST_PAIRS = 2


def metric_by_point(table: pd.DataFrame, name: str, metric_label: str) -> Figure:
    """Mean metric by item with 95 % bootstrap bands over pairs: counted from the first item, and from the last.

    ``table``: pair_id, point, n_points, run (clean or corrupted), metric.
    """
    table = table.assign(from_last=table["point"] - table["n_points"], key=_keys(table))
    last = table[table["from_last"] == 0]
    means = last.groupby("run")["metric"].mean()
    n_pairs = table["key"].nunique()
    with house_style():
        figure = new_figure(8.4, 3.6)
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, column in ((left, "point"), (right, "from_last")):
            for run, colour in (("clean", CLEAN), ("corrupted", CORRUPTED)):
                _curve(axes, table[table["run"] == run], column, colour, run)
            axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        left.set_xlabel("decision point")
        right.set_xlabel("items after the last (0 = last)")
        left.set_ylabel(figure_text(metric_label))
        left.legend(frameon=False, title=f"mean of {n_pairs} pairs, 95 %", title_fontsize=8)
        figure.suptitle(
            figure_text(
                f"{name}: after the last item {means['clean']:+.2f} (clean) "
                f"against {means['corrupted']:+.2f} (corrupted)"
            ),
            x=0.01,
            ha="left",
            fontsize=10,
        )
    return figure


def _keys(table: pd.DataFrame) -> pd.Series:
    """Lists are numbered within a group."""
    return table["group"].astype(str) + "\x1f" + table["pair_id"].astype(str)


def _curve(axes: Axes, rows: pd.DataFrame, column: str, colour: str, label: str) -> None:
    grid = rows.pivot(index=column, columns="key", values="metric").sort_index()
    counts = grid.notna().sum(axis=1)
    reached = grid[counts >= min(FEWEST_PAIRS, int(counts.max()))]
    low, high = [], []
    for _, values in reached.iterrows():
        # Each point has its own set of pairs, so each is resampled by itself.
        one_low, one_high = bootstrap_interval(values.dropna().to_numpy(dtype=float)[None], seed=0)
        low.append(one_low[0])
        high.append(one_high[0])
    at = reached.index.to_numpy()
    axes.plot(at, reached.mean(axis=1), color=colour, marker="o", markersize=3, label=label)
    axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)


#: The length word comes first: nothing before it differs.
_ROLES = ["length", *[role for role in ROLES if role != "length"], DECISION]
_TICKS = np.array([-1, -0.3, -0.1, 0, 0.1, 0.3, 1])
#: Layers are numbered one by one up to so many.
_NUMBERED = 30


def layer_scores_figure(table: pd.DataFrame, lens: pd.DataFrame, ablation: pd.DataFrame, metric_label: str) -> Figure:
    """Effect of patching each role's positions at each layer, one panel a kind, and the lens by layer beside them.

    Chosen sites are framed. A cell is the mean over groups of each group's mean over lists.

    Args:
        table, lens, ablation: as a ``Selection`` holds them.
    """
    kinds = [kind for kind in KINDS if kind in set(table["kind"])]
    cells = _cells(ablation, lens)
    roles = [role for role in _ROLES if role in set(cells.columns)]
    n_layers = int(lens["layer"].max()) + 1
    limit = float(np.abs(cells.to_numpy()).max()) or 1.0
    norm = AsinhNorm(linear_width=limit / 8, vmin=-limit, vmax=limit)
    panel = max(1.5, 0.27 * len(roles))
    width = 2.4 + panel * len(kinds) + 2.2
    with house_style():
        figure = new_figure(width, 2.1 + 0.19 * max(8, n_layers))
        panels = figure.subplots(1, len(kinds) + 1, sharey=True, width_ratios=[panel] * len(kinds) + [2.2])
        for axes, kind in zip(panels, kinds, strict=False):
            values = cells.xs(kind, level="kind")[roles].reindex(range(n_layers))
            image = axes.imshow(values, cmap=effect_map(), norm=norm, aspect="auto", origin="lower")
            _frame_chosen(axes, table[(table["kind"] == kind) & table["chosen"]], len(roles))
            axes.set_xticks(range(len(roles)), roles, rotation=90)
            axes.set_title(kind, fontsize=9)
            axes.tick_params(length=0)
        bar = figure.colorbar(image, ax=panels[-2], ticks=limit * _TICKS, format="%+.2g", pad=0.03, fraction=0.12)
        bar.set_label("effect on the metric (logits, asinh scale)", fontsize=8)
        _lens_curve(panels[-1], lens)
        panels[-1].set_xlabel(figure_text("\n".join(textwrap.wrap(metric_label, 26))))
        step = 1 if n_layers <= _NUMBERED else 5
        panels[0].set_yticks(range(0, n_layers, step))
        panels[0].set_ylim(-0.5, n_layers - 0.5)
        panels[0].set_ylabel("layer")
        lines = textwrap.wrap(_finding(table, cells, lens), int(14 * width))
        figure.suptitle(figure_text("\n".join(lines)), x=0.01, ha="left", fontsize=10)
    return figure


def _cells(ablation: pd.DataFrame, lens: pd.DataFrame) -> pd.DataFrame:
    """Mean effect by (layer, kind) and role; a pair without positions of a role counts as 0."""
    n_pairs = lens.groupby("group")["pair_id"].nunique()
    sums = ablation.groupby(["group", "layer", "kind", "role"])["effect"].sum()
    means = sums / n_pairs.reindex(sums.index.get_level_values("group")).to_numpy()
    return (means.groupby(["layer", "kind", "role"]).sum() / len(n_pairs)).unstack("role").fillna(0.0)


def _frame_chosen(axes: Axes, chosen: pd.DataFrame, n_roles: int) -> None:
    for layer in chosen["layer"].unique():
        axes.add_patch(
            Rectangle((-0.44, layer - 0.44), n_roles - 0.12, 0.88, fill=False, edgecolor="black", linewidth=1.4)
        )


def _lens_curve(axes: Axes, lens: pd.DataFrame) -> None:
    """The metric read from the residual stream after each layer."""
    after = lens[lens["kind"] == "resid_post"].groupby(["group", "layer"])[["clean", "corrupted"]].mean()
    means = after.groupby("layer").mean()
    for run, colour in (("clean", CLEAN), ("corrupted", CORRUPTED)):
        axes.plot(means[run], means.index, color=colour, marker="o", markersize=3, label=run)
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    axes.set_title("logit lens", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    axes.tick_params(axis="y", length=0)


def _finding(table: pd.DataFrame, cells: pd.DataFrame, lens: pd.DataFrame) -> str:
    chosen = table[table["chosen"]].drop_duplicates(["layer", "kind"])
    names = [
        f"{kind} {', '.join(str(layer) for layer in sorted(own['layer']))}"
        for kind, own in sorted(chosen.groupby("kind"), key=lambda part: KINDS.index(part[0]))
    ]
    at, role = np.unravel_index(cells.abs().to_numpy().argmax(), cells.shape)
    layer, kind = cells.index[at]
    gains = lens[lens["kind"] == "resid_post"].groupby(["group", "layer"])["gain"].mean().groupby("layer").mean()
    built = gains.abs().idxmax()
    return (
        f"Chosen (framed): {'; '.join(names)}. The largest effect is {cells.iloc[at, role]:+.1f}, at {kind}.{layer}, "
        f"role {cells.columns[role]}; by the lens, layer {built} adds most to clean - corrupted ({gains[built]:+.1f})"
    )
