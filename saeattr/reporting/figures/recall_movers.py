"""Mover heads: what they see of a prompt, every head by what it does, and their removal beside its controls."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.recall.facts.check import ENTITY
from saeattr.reporting.figures.cells import share_cells
from saeattr.reporting.figures.style import (
    CLEAN,
    CORRUPTED,
    PALETTE,
    figure_text,
    house_style,
    new_figure,
    show_token,
)

FACT = ["group", "pair_id"]
#: Heads whose pattern is shown.
SHOWN = 4
#: Columns of ``tables.RECALL_MOVERS`` that have a map, and what they are.
MAPS = {
    "attention_entity": "attention to the entity",
    "direct": "direct effect, of the gap",
    "copies": "OV: entity in top 10",
    "answers": "OV: answer in top 10",
    "exact": "exact effect, of the gap",
}
KINDS = {
    "random": "random directions, equally far",
    "directions": "other heads' directions, equally far",
    "heads": "as many other heads, as they are",
}
WORDS = {"mean": "put to the mean of other facts", "corrupted": "put to the corrupted run's"}
#: Letters of a title in an inch.
LETTERS = 13


def movers_figure(movers: pd.DataFrame, heads: pd.DataFrame, attention: pd.DataFrame) -> Figure | None:
    """The strongest heads over an example prompt, and a map of layers and heads for each measure.

    The example is the fact in which the strongest head's exact effect is the median share of the gap.

    Args:
        movers: ``tables.RECALL_MOVERS``, the strongest first; heads, attention: fact by fact.
    """
    if movers.empty:
        return None
    first = movers.iloc[0]
    n_heads = int(movers["head"].max()) + 1
    width = 9.6
    with house_style():
        figure = new_figure(width, 2.9 + 0.28 * n_heads + 0.25 * SHOWN)
        grid = figure.add_gridspec(2, len(MAPS), height_ratios=(0.9 + 0.25 * SHOWN, 0.6 + 0.28 * n_heads))
        _pattern(figure.add_subplot(grid[0, :]), movers.head(SHOWN), _example(heads, first), attention)
        for at, (name, title) in enumerate(MAPS.items()):
            axes = figure.add_subplot(grid[1, at])
            _map(axes, movers.pivot_table(index="head", columns="layer", values=name), title)
            if at == 0:
                axes.set_ylabel("head")
        _title(figure, _strongest_text(first), width)
    return figure


def _strongest_text(first: pd.Series) -> str:
    return (
        f"head {first['layer']:.0f}.{first['head']:.0f} moves most: {first['attention_entity']:.0%} of its attention "
        f"at the final position is on the entity, and its output from the corrupted run moves {first['exact']:.2f} "
        f"of the gap ({first['n_facts']:.0f} facts)"
    )


def _example(heads: pd.DataFrame, first: pd.Series) -> tuple[str, str]:
    """The fact in which a head's share of the gap is the median."""
    own = heads[(heads["layer"] == first["layer"]) & (heads["head"] == first["head"])]
    share = own["exact_effect"] / (own["corrupted"] - own["clean"])
    middle = own.loc[share.sort_values(kind="stable").index[len(share) // 2]]
    return str(middle["group"]), str(middle["pair_id"])


def _pattern(axes: Axes, shown: pd.DataFrame, fact: tuple[str, str], attention: pd.DataFrame) -> None:
    """Heads by tokens: attention from the final position."""
    own = attention[(attention[FACT] == list(fact)).all(axis=1)]
    cells = own.pivot_table(index=["layer", "head"], columns="position", values="attention_clean")
    cells = cells.loc[list(zip(shown["layer"], shown["head"], strict=True))]
    tokens = own.drop_duplicates("position").sort_values("position")
    labels = [show_token(token.replace("▁", " ").replace("Ġ", " ")) for token in tokens["token"]]
    share_cells(axes, cells, most_columns=cells.shape[1], size=6)
    axes.set_xticks(range(len(labels)), [figure_text(label) for label in labels])
    for label, role in zip(axes.get_xticklabels(), tokens["role"], strict=True):
        label.set(color=CLEAN if role == ENTITY else "black", fontweight="bold" if role == ENTITY else "normal")
    axes.set_yticks(range(len(cells)), [f"{layer}.{head}" for layer, head in cells.index])
    axes.set_title(f"attention of the last token, {fact[0]}: {fact[1]} (entity in blue)", fontsize=9)


def _map(axes: Axes, cells: pd.DataFrame, title: str) -> None:
    share_cells(axes, cells, most_columns=8, size=6)
    axes.set_xticks(range(cells.shape[1]), list(map(str, cells.columns)))
    axes.set_yticks(range(cells.shape[0]), list(map(str, cells.index)))
    axes.set_xlabel("layer")
    axes.set_title(title, fontsize=9)


def removal_figure(removed: pd.DataFrame, removal: pd.DataFrame) -> Figure | None:
    """Mean damage of removing the movers (a line) beside every control (a dot), as shares of the gap.

    Args:
        removed: ``tables.RECALL_REMOVED``; removal: ``tables.RECALL_REMOVAL``.
    """
    sets = [name for name in ("first", "all") if (removed["chosen"] == name).any()]
    if not sets:
        return None
    width = 9.6
    with house_style():
        figure = new_figure(width, 0.9 + 1.6 * len(sets))
        grid = figure.subplots(len(sets), 2, squeeze=False, sharex=True, sharey=True)
        for row, chosen in enumerate(sets):
            for axes, (name, words) in zip(grid[row], WORDS.items(), strict=True):
                own = removed[(removed["chosen"] == chosen) & (removed["removal"] == name)].set_index("control")
                drawn = removal[(removal["chosen"] == chosen) & (removal["removal"] == name)]
                _strips(axes, own, drawn)
                axes.set_title(f"{'strongest mover' if chosen == 'first' else 'all movers'} {words}", fontsize=9)
        for axes in grid[-1]:
            axes.set_xlabel("damage, share of the gap")
        _title(figure, _removal_text(removed), width)
    return figure


def _strips(axes: Axes, own: pd.DataFrame, drawn: pd.DataFrame) -> None:
    axes.axvline(own["damage"].loc[""], color=CORRUPTED, linewidth=2)
    for at, kind in enumerate(KINDS):
        rows = drawn[drawn["control"] == kind]
        sums = rows.assign(gap=rows["corrupted"] - rows["clean"]).groupby("draw")[["change", "gap"]].sum()
        beside = (np.arange(len(sums)) * 0.618) % 1 - 0.5
        axes.scatter(sums["change"] / sums["gap"], at + 0.6 * beside, s=5, color=PALETTE[(0, 2, 7)[at]], linewidths=0)
    axes.axvline(0, color="0.85", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(KINDS)), list(KINDS.values()), fontsize=8)
    axes.set_ylim(len(KINDS) - 0.5, -0.5)


def _removal_text(removed: pd.DataFrame) -> str:
    parts = []
    for name, words in WORDS.items():
        own = removed[(removed["chosen"] == "first") & (removed["removal"] == name)].set_index("control")
        random = own.loc["random"]
        parts.append(
            f"{words}: {own.loc['', 'damage']:.2f} of the gap, more than "
            f"{random['hurt_less'] * random['n_controls']:.0f} of {random['n_controls']:.0f} random moves of equal size"
        )
    head = removed.loc[removed["chosen"] == "first", "movers"].iloc[0]
    return f"line: head {head}, chosen on other facts, " + "; ".join(parts)


def _title(figure: Figure, text: str, width: float) -> None:
    figure.suptitle(figure_text(textwrap.fill(text, int(LETTERS * width))), x=0.01, ha="left", fontsize=10)
