"""Layer by token: what a clean activation restores in the corrupted run, LD beside the answer's probability."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.recall.localisation.curves import FACT, FINAL
from saeattr.recall.localisation.restoration import MAPPED, ROLES, by_role, examples
from saeattr.reporting.figures.cells import share_cells
from saeattr.reporting.figures.style import figure_text, house_style, new_figure, show_token

#: The two numbers that are read of each patched run.
READ = {"ld_share": "LD", "p_share": "probability of the answer"}
#: More layers than this leave no room for numbers.
NUMBERED = 14
#: Letters of a title in an inch.
LETTERS = 13
WIDTH = 9.6


def roles_figure(table: pd.DataFrame) -> Figure | None:
    """Mean over facts by aligned role and layer, a row of panels a component; None without rows."""
    means = by_role(table)
    components = [name for name in MAPPED if (means["component"] == name).any()]
    if not components:
        return None
    roles = [role for role in ROLES if (means["place"] == role).any()]
    with house_style():
        figure = new_figure(WIDTH, 0.9 + (0.75 + 0.27 * len(roles)) * len(components))
        panels = figure.subplots(len(components), len(READ), squeeze=False)
        for row, component in enumerate(components):
            own = means[means["component"] == component]
            counts = own.groupby("place")["n_facts"].max()
            for axes, (column, name) in zip(panels[row], READ.items(), strict=True):
                cells = own.pivot_table(index="place", columns="layer", values=column, dropna=False).reindex(roles)
                cells.index = pd.Index([f"{role} ({counts.get(role, 0)})" for role in roles])
                _map(axes, cells, f"{component}, {name}")
        for axes in panels[-1]:
            axes.set_xlabel("layer")
        _title(figure, _means_text(means, table.groupby(FACT).ngroups))
    return figure


def _means_text(means: pd.DataFrame, n_facts: int) -> str:
    """What attention and MLPs at the final position restore at most, in both numbers."""
    said = []
    for component in MAPPED[1:]:
        own = means[(means["component"] == component) & (means["place"] == FINAL)]
        if len(own):
            best = own.loc[own["ld_share"].idxmax()]
            said.append(f"{component} {best['ld_share']:.2f} and {best['p_share']:.2f} (layer {best['layer']})")
    which = f"of LD and probability; most at the final position: {', '.join(said)}" if said else "of LD and probability"
    return f"clean put into corrupted, token by token: share restored {which}; mean over {n_facts} facts"


def facts_figure(table: pd.DataFrame) -> Figure | None:
    """resid_pre of the facts of the largest, median and smallest swing, token by token; None without rows."""
    stream = table[table["component"] == MAPPED[0]]
    shown = [(key, stream[(stream[FACT] == list(key)).all(axis=1)]) for key in examples(stream)]
    if not shown:
        return None
    heights = [own["position"].nunique() for _, own in shown]
    with house_style():
        figure = new_figure(WIDTH, 0.9 + sum(0.75 + 0.22 * height for height in heights))
        panels = figure.subplots(len(shown), len(READ), squeeze=False, gridspec_kw={"height_ratios": heights})
        for row, ((category, pair_id), own) in enumerate(shown):
            names = own.drop_duplicates("position").set_index("position")["token"].map(show_token)
            for axes, (column, name) in zip(panels[row], READ.items(), strict=True):
                cells = own.pivot_table(index="position", columns="layer", values=column, dropna=False)
                cells.index = pd.Index([figure_text(names[position]) for position in cells.index])
                swing = own["swing"].iloc[0]
                _map(axes, cells, f"{show_token(category, 20)}: {show_token(pair_id, 24)} (swing {swing:.1f}), {name}")
        for axes in panels[-1]:
            axes.set_xlabel("layer")
        _title(figure, "resid_pre, clean put into corrupted: facts of the largest, the median and the smallest swing")
    return figure


def _map(axes: Axes, cells: pd.DataFrame, title: str) -> None:
    """Shares in coloured cells, from -1 to 1."""
    share_cells(axes, cells, NUMBERED)
    step = -(-cells.shape[1] // NUMBERED)
    axes.set_xticks(range(0, cells.shape[1], step), [str(layer) for layer in cells.columns[::step]])
    axes.set_yticks(range(cells.shape[0]), list(map(str, cells.index)), fontsize=8)
    axes.set_title(figure_text(title), fontsize=9)


def _title(figure: Figure, text: str) -> None:
    wrapped = figure_text(textwrap.fill(text, int(LETTERS * WIDTH)))
    figure.suptitle(wrapped, x=0.01, ha="left", fontsize=10)
