"""How the sites were chosen: what each role's positions do at each layer, and the logit lens beside it."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from saeattr.reporting.figures.style import CLEAN, CORRUPTED, effect_map, figure_text, house_style, new_figure
from saeattr.reporting.numbers import pairs_text
from saeattr.runs.roles import DECISION
from saeattr.sites import KINDS
from saeattr.tables import PAIR, SITE

_TICKS = np.array([-1, -0.3, -0.1, 0, 0.1, 0.3, 1])
#: Layers are numbered one by one up to so many.
_NUMBERED = 30


def layer_scores_figure(table: pd.DataFrame, lens: pd.DataFrame, ablation: pd.DataFrame, metric_label: str) -> Figure:
    """Effect of patching each role's positions at each layer, one panel a kind, and the lens by layer beside them.

    Chosen sites are framed. A cell is the mean over groups of each group's mean over pairs.

    Args:
        table, lens, ablation: as a ``Selection`` holds them.
    """
    kinds = [kind for kind in KINDS if kind in set(table["kind"])]
    cells = _cells(ablation, lens)
    # As they come in the prompts; the decision, which any of them can be, last.
    roles = [role for role in ablation["role"].unique() if role != DECISION]
    roles += [DECISION] if DECISION in cells.columns else []
    n_layers = int(lens["layer"].max()) + 1
    limit = float(np.abs(cells.to_numpy()).max()) or 1.0
    norm = AsinhNorm(linear_width=limit / 8, vmin=-limit, vmax=limit)
    panel = max(1.5, 0.27 * len(roles))
    width = 2.4 + panel * len(kinds) + 2.2
    with house_style():
        figure = new_figure(width, 2.1 + 0.19 * max(8, n_layers))
        panels = figure.subplots(1, len(kinds) + 1, sharey=True, width_ratios=[panel] * len(kinds) + [2.2])
        image = ScalarMappable(norm, effect_map())
        for axes, kind in zip(panels, kinds, strict=False):
            values = cells.xs(kind, level="kind")[roles].reindex(range(n_layers))
            axes.imshow(values, cmap=effect_map(), norm=norm, aspect="auto", origin="lower")
            _frame_chosen(axes, table[(table["kind"] == kind) & table["chosen"]], len(roles))
            axes.set_xticks(range(len(roles)), roles, rotation=90)
            axes.set_title(kind, fontsize=9)
            axes.tick_params(length=0)
        bar = figure.colorbar(image, ax=panels[-2], ticks=limit * _TICKS, format="%+.2g", pad=0.03, fraction=0.12)
        bar.set_label("effect on the metric (asinh scale)", fontsize=8)
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
    axes.legend(fontsize=8, edgecolor="none")
    axes.tick_params(axis="y", length=0)


def _finding(table: pd.DataFrame, cells: pd.DataFrame, lens: pd.DataFrame) -> str:
    chosen = table[table["chosen"]].drop_duplicates(SITE)
    names = [
        f"{kind} {', '.join(str(layer) for layer in sorted(own['layer']))}"
        for kind, own in sorted(chosen.groupby("kind"), key=lambda part: KINDS.index(part[0]))
    ]
    framed = "; ".join(names) if len(chosen) < len(table.drop_duplicates(SITE)) else f"all {len(chosen)} sites"
    at, role = np.unravel_index(cells.abs().to_numpy().argmax(), cells.shape)
    layer, kind = cells.index[at]
    gains = lens[lens["kind"] == "resid_post"].groupby(["group", "layer"])["gain"].mean().groupby("layer").mean()
    built = gains.abs().idxmax()
    return (
        f"Chosen (framed): {framed}. The largest effect is {cells.iloc[at, role]:+.1f}, at {kind}.{layer}, "
        f"role {cells.columns[role]}; by the lens, layer {built} adds most to clean - corrupted ({gains[built]:+.1f}); "
        f"mean of {pairs_text([lens.groupby(PAIR).ngroups])}"
    )
