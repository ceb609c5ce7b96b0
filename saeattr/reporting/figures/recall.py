"""Facts asked of a model: LD after both prompts, the swing by category and fact, and two models side by side."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saeattr.recall.facts.folder import Triage
from saeattr.recall.facts.robustness import Beside
from saeattr.reporting.figures.style import (
    CLEAN,
    CORRUPTED,
    figure_text,
    house_style,
    new_figure,
    save_figure,
    show_token,
)
from saeattr.reporting.numbers import interval_text

#: Facts in one figure, at most: more cannot be read.
MOST = 60
#: Letters of a title in an inch.
LETTERS = 13
UNKNOWN = "#d55e00"
SWING = "swing: LD after the clean prompt - LD after the corrupted one (logits)"


def draw_triage(found: Triage) -> None:
    """Write the figures into the triage's folder.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    assert found.folder is not None
    figures = {
        "triage-ld": ld_figure(found.facts),
        "triage-categories": category_figure(found.facts),
        "triage-facts": fact_figure(found.selected),
    }
    for name, figure in figures.items():
        if figure is not None:
            save_figure(figure, found.folder, name)


def draw_beside(found: Beside, folder: Path) -> None:
    """Write ``triage-beside`` into a folder.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    save_figure(beside_figure(found), folder, "triage-beside")


def ld_figure(facts: pd.DataFrame) -> Figure | None:
    """LD after the clean prompt against LD after the corrupted one, a point a row; None without a row.

    Facts that the model knows are in the lower right quarter: each prompt prefers its own answer.
    """
    if facts.empty:
        return None
    with house_style():
        figure = new_figure(5.2, 5.0)
        axes = figure.subplots()
        low, high = _limits(facts[["ld_clean", "ld_corrupted"]].to_numpy(dtype=float))
        axes.fill_between([0, high], low, 0, color="0.95", linewidth=0, zorder=-2)
        for zero in (axes.axhline, axes.axvline):
            zero(0, color="0.6", linewidth=0.8, zorder=-1)
        for known, colour in ((True, CLEAN), (False, UNKNOWN)):
            part = facts[facts["known"] == known]
            if len(part):
                label = f"known ({len(part)})" if known else f"not known ({len(part)})"
                axes.scatter(part["ld_clean"], part["ld_corrupted"], s=13, color=colour, label=label, linewidths=0)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set_xlabel("LD after the clean prompt (logits)")
        axes.set_ylabel("LD after the corrupted prompt (logits)")
        axes.legend(frameon=False, fontsize=8, loc="upper left")
        known, swing = int(facts["known"].sum()), facts["swing"].median()
        _title(figure, f"the fact is known in {known} of {len(facts)} rows (shaded); median swing {swing:.1f}", 5.2)
    return figure


def category_figure(facts: pd.DataFrame) -> Figure | None:
    """The swing of every row by category, the largest median on top; None without a row."""
    if facts.empty:
        return None
    order = facts.groupby("category")["swing"].median().sort_values(ascending=False)
    with house_style():
        figure = new_figure(7.4, 1.5 + 0.2 * len(order))
        axes = figure.subplots()
        axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        place = facts["category"].map({name: at for at, name in enumerate(order.index)}) + _spread(facts)
        for known, colour in ((True, CLEAN), (False, UNKNOWN)):
            part = (facts["known"] == known).to_numpy()
            if part.any():
                label = "a known fact in one phrasing" if known else "not known"
                axes.scatter(facts["swing"][part], place[part], s=8, color=colour, alpha=0.7, label=label, linewidths=0)
        at = np.arange(len(order))
        axes.vlines(order, at - 0.38, at + 0.38, color="black", linewidth=1.4, label="median", zorder=3)
        axes.set_yticks(at, [figure_text(show_token(str(name), 30)) for name in order.index], fontsize=7.5)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlabel(SWING)
        axes.grid(axis="y", color="0.94")
        axes.set_axisbelow(True)
        figure.legend(frameon=False, fontsize=7.5, loc="outside lower center", ncols=3)
        n_facts = facts.groupby(["category", "fact"]).ngroups
        ends = f"from {order.iloc[-1]:.1f} ({order.index[-1]}) to {order.iloc[0]:.1f} ({order.index[0]})"
        _title(figure, f"{n_facts} facts of {len(order)} categories in {len(facts)} prompts: median swing {ends}", 7.4)
    return figure


def fact_figure(selected: pd.DataFrame) -> Figure | None:
    """LD after both prompts for each selected fact, by category; None where none is selected.

    Categories are in the order of their largest swing, and so are the facts in each. Of more than ``MOST`` facts those
    of the largest swing are drawn.
    """
    if selected.empty:
        return None
    shown = selected.sort_values("swing", ascending=False).head(MOST)
    best = shown.groupby("category")["swing"].transform("max")
    shown = shown.assign(best=best).sort_values(["best", "category", "swing"], ascending=[False, True, False])
    with house_style():
        figure = new_figure(7.4, 1.5 + 0.2 * len(shown))
        axes = figure.subplots()
        at = np.arange(len(shown))
        axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        axes.hlines(at, shown["ld_corrupted"], shown["ld_clean"], color="0.75", linewidth=1.4, zorder=1)
        for column, colour, label in (
            ("ld_corrupted", CORRUPTED, "after the corrupted prompt"),
            ("ld_clean", CLEAN, "after the clean prompt"),
        ):
            axes.scatter(shown[column], at, s=20, color=colour, label=label, zorder=2)
        _name_facts(axes, shown)
        axes.set_xlabel(figure_text("LD = logit(right answer) - logit(the other entity's answer)"))
        figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=2)
        largest = "" if len(shown) == len(selected) else f"the {MOST} largest of "
        span = f"{shown['swing'].min():.1f} to {shown['swing'].max():.1f}"
        _title(figure, f"{largest}{len(selected)} selected facts: the entity moves LD by {span} logits", 7.4)
    return figure


def _name_facts(axes: Axes, shown: pd.DataFrame) -> None:
    """Each line is named by its fact, the first of a category by that too; a thin line parts the categories."""
    names = []
    for nth, row in enumerate(shown.to_dict("records")):
        new = nth == 0 or row["category"] != shown["category"].iloc[nth - 1]
        if new and nth:
            axes.axhline(nth - 0.5, color="0.9", linewidth=0.6, zorder=0)
        names.append(f"{show_token(row['category'], 24)} | {row['fact']}" if new else str(row["fact"]))
    axes.set_yticks(range(len(names)), [figure_text(name) for name in names], fontsize=7)
    axes.set_ylim(len(names) - 0.4, -0.6)


def beside_figure(found: Beside) -> Figure:
    """Each row's swing in model A against its swing in model B."""
    rows = found.rows
    with house_style():
        figure = new_figure(5.4, 5.2)
        axes = figure.subplots()
        limits = _limits(rows[["swing_a", "swing_b"]].to_numpy(dtype=float))
        axes.plot(limits, limits, color="0.7", linewidth=0.8, zorder=0)
        groups = {
            "known to both": (rows["known_a"] & rows["known_b"], CLEAN),
            "to A only": (rows["known_a"] & ~rows["known_b"], UNKNOWN),
            "to B only": (~rows["known_a"] & rows["known_b"], "#029e73"),
            "to neither": (~rows["known_a"] & ~rows["known_b"], "0.6"),
        }
        for label, (part, colour) in groups.items():
            if part.any():
                axes.scatter(
                    *rows.loc[part, ["swing_a", "swing_b"]].to_numpy(dtype=float).T,
                    s=12,
                    color=colour,
                    label=f"{label} ({part.sum()})",
                    linewidths=0,
                )
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set_xlabel(figure_text(f"swing in A ({show_token(found.a, 40)}), logits"))
        axes.set_ylabel(figure_text(f"swing in B ({show_token(found.b, 40)}), logits"))
        axes.legend(frameon=False, fontsize=8, loc="upper left")
        middle, low, high = found.change
        n_facts = rows.groupby(["category", "fact"]).ngroups
        said = f"median change {middle:+.2f} {interval_text(low, high)}"
        _title(figure, f"swing of {n_facts} facts in {len(rows)} prompts: B minus A, {said}", 5.4)
    return figure


def _limits(values: np.ndarray) -> tuple[float, float]:
    """One range for both axes, 0 in it, with a margin."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _spread(facts: pd.DataFrame) -> np.ndarray:
    """Heights within a category's band, facts apart from each other, so that points do not hide each other."""
    numbers = facts.groupby("category")["row"].rank(method="first") - 1
    counts = facts.groupby("category")["row"].transform("size")
    return ((numbers + 0.5) / counts - 0.5).to_numpy(dtype=float) * 0.7


def _title(figure: Figure, text: str, width: float) -> None:
    figure.suptitle(figure_text(textwrap.fill(text, int(LETTERS * width))), x=0.01, ha="left", fontsize=10)
