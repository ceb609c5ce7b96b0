"""The logit lens over layers: one line a position, in the same colour in every figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from saeattr.behaviours.pair import DECISION
from saeattr.reading.layers import POSITIONS, lens_onsets
from saeattr.reading.lens import BEFORE
from saeattr.reporting.figures.style import PALETTE, figure_text, house_style, new_figure
from saeattr.reporting.readings import lens_text, n_pairs_of
from saeattr.stats import mean_interval
from saeattr.tables import PAIR

#: Positions so many before the last, or more, share the lightest colour.
FARTHEST = 9
#: A position is drawn where at least so many pairs reach it.
FEWEST_PAIRS = 2
RUNS = ("clean", "corrupted")


@dataclass(frozen=True)
class Course:
    """The lens at one position over layers, of several pairs.

    Attributes:
        name: ``last``, ``3 before``, or the role where a direction is read at several.
        grid: [pairs, layers]; columns are the layers.
    """

    name: str
    colour: str
    grid: pd.DataFrame


def position_colour(from_end: int) -> str:
    """Dark for the last position, lighter the more stand behind one."""
    shade = 0.95 * min(from_end, FARTHEST) / FARTHEST
    return to_hex(matplotlib.colormaps["viridis"](shade))


def courses(rows: pd.DataFrame, run: str) -> list[Course]:
    """The courses of one direction in one run: by position counted from the end, or by role where there are several.

    Of a role with several spans in a pair the last one is taken where roles are compared.
    """
    roles = sorted(dict.fromkeys(rows["role"]), key=lambda role: role == DECISION)
    known = rows[rows[run].notna()]
    if len(roles) > 1:
        chosen = known[known["from_end"] == 0]
        parts = [(role, PALETTE[at % len(PALETTE)], chosen[chosen["role"] == role]) for at, role in enumerate(roles)]
    else:
        ends = sorted(int(end) for end in known["from_end"].unique())
        names = {0: "last"}
        parts = [(names.get(k, f"{k} before"), position_colour(k), known[known["from_end"] == k]) for k in ends]
    found = [Course(name, colour, own.pivot(index=PAIR, columns="layer", values=run)) for name, colour, own in parts]
    most = max((len(course.grid) for course in found), default=0)
    return [course for course in found if len(course.grid) >= min(FEWEST_PAIRS, most) > 0]


def lens_figure(rows: pd.DataFrame, labels: Mapping[str, str], name: str) -> Figure | None:
    """Every direction over layers, the clean run beside the corrupted one; grey: where the direction appears.

    Args:
        rows: ``tables.LOGIT_LENS`` at one temperature, of one group or of several together.
        labels: of the directions, in words.
    """
    chosen = list(dict.fromkeys(rows["direction"]))
    if not chosen:
        return None
    onsets = lens_onsets(rows, dict(labels), name)
    with house_style():
        figure = new_figure(9.8, 0.9 + 3.0 * len(chosen))
        panels = figure.subplots(len(chosen), len(RUNS), sharex=True, sharey="row", squeeze=False)
        titles = []
        for row, direction in zip(panels, chosen, strict=True):
            own = rows[rows["direction"] == direction]
            found = onsets[onsets["direction"] == direction].to_dict("records")
            _shade(row[0], found)
            for axes, run in zip(row, RUNS, strict=True):
                _lines(axes, courses(own, run))
                axes.set_title(figure_text(f"{role_text(own)}: {run} run"), fontsize=9)
            row[0].set_ylabel(figure_text(textwrap.fill(labels.get(direction, direction), 34)))
            _legend(row[-1], courses(own, "clean"), f"mean of {n_pairs_of(own)} pairs, 95 % bands")
            titles += [lens_text(found)] if (found := _told(found)) else []
        for axes in panels[-1]:
            _layer_axis(axes)
        lens_title(figure, name, titles)
    return figure


def lens_by_temperature(rows: pd.DataFrame, labels: Mapping[str, str], name: str) -> Figure | None:
    """The clean run of every direction, a panel for each temperature at which answers were sampled; None with one."""
    warm = sorted(rows["temperature"].dropna().unique())
    chosen = list(dict.fromkeys(rows["direction"]))
    if len(warm) < 2:
        return None
    with house_style():
        figure = new_figure(1.9 + 2.6 * len(warm), 0.8 + 2.7 * len(chosen))
        panels = figure.subplots(len(chosen), len(warm), sharex=True, sharey="row", squeeze=False)
        for row, direction in zip(panels, chosen, strict=True):
            of_direction = rows[rows["direction"] == direction]
            for axes, temperature in zip(row, warm, strict=True):
                own = of_direction[of_direction["temperature"] == temperature]
                found = lens_onsets(own, dict(labels), name).to_dict("records")
                _shade(axes, found)
                _lines(axes, courses(own, "clean"))
                n_pairs = n_pairs_of(own)
                axes.set_title(f"temperature {temperature:g}, {n_pairs} pair{'' if n_pairs == 1 else 's'}", fontsize=8)
            row[0].set_ylabel(figure_text(textwrap.fill(labels.get(direction, direction), 30)))
            split = [own for _, own in of_direction.groupby("temperature")]
            _legend(row[-1], [course for own in split for course in courses(own, "clean")], "mean, 95 % bands")
        for axes in panels[-1]:
            _layer_axis(axes)
        words = "logit lens of the clean run by sampling temperature; grey: from 10 % to 90 % of the final separation"
        lens_title(figure, name, [words])
    return figure


def _lines(axes: Axes, found: Sequence[Course]) -> None:
    """A line a course with Student's band over pairs; the last position on top."""
    for depth, course in enumerate(found):
        layers = course.grid.columns.to_numpy()
        values = course.grid.to_numpy(dtype=float).T
        low, high = mean_interval(np.ascontiguousarray(values))
        above = 2 + (len(found) - depth) / 100
        axes.plot(layers, values.mean(axis=1), color=course.colour, linewidth=1.3, zorder=above)
        axes.fill_between(layers, low, high, color=course.colour, alpha=0.12, linewidth=0)
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)


def _legend(axes: Axes, found: Sequence[Course], title: str) -> None:
    """Beside the panel: each position's colour once, those that share one under a common name."""
    names: dict[str, str] = {}
    for course in found:
        names.setdefault(course.colour, course.name)
    far = position_colour(FARTHEST)
    if any(course.colour == far and course.name != names[far] for course in found):
        names[far] = f"{FARTHEST} or more before"
    order = {position_colour(k): k for k in range(FARTHEST + 1)}
    colours = sorted(names, key=lambda colour: order.get(colour, FARTHEST))
    handles = [Line2D([], [], color=colour, label=figure_text(names[colour])) for colour in colours]
    words: dict[str, Any] = {"title": title, "fontsize": 7, "title_fontsize": 7, "frameon": False}
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), **words)


def _shade(axes: Axes, onsets: Sequence[Mapping[Any, Any]]) -> None:
    """Grey where the separation between positions (or, without such, between runs) grows from 10 % to 90 %."""
    ordered = sorted(onsets, key=lambda row: row["contrast"] != POSITIONS)
    if ordered and not np.isnan(ordered[0]["begins"]):
        axes.axvspan(ordered[0]["begins"], ordered[0]["complete"], color="0.92", linewidth=0, zorder=-1)


def _told(onsets: Sequence[Mapping[Any, Any]]) -> list[Mapping[Any, Any]]:
    """Those of the one role, or where there are several those of the decision points."""
    alone = len({row["role"] for row in onsets}) == 1
    return [row for row in onsets if alone or row["role"] == DECISION]


def _layer_axis(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: "in" if value == BEFORE else f"{value:g}")
    axes.set_xlabel("after layer (in: before layer 0)")


def role_text(rows: pd.DataFrame) -> str:
    """``at newline``, or ``by role``."""
    roles = rows["role"].unique()
    return f"at {roles[0]}" if len(roles) == 1 else "by role"


def lens_title(figure: Figure, name: str, lines: Sequence[str]) -> None:
    """A line or more above the panels, wrapped to the figure's width."""
    width = int(13 * figure.get_figwidth())
    wrapped = [textwrap.fill(line, width) for line in (f"{name}: {lines[0] if lines else ''}", *lines[1:])]
    figure.suptitle(figure_text("\n".join(wrapped)), x=0.01, ha="left", fontsize=9)
