"""The logit lens as a map, layer by position: where a direction appears, at a glance."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from saeattr.reading.lens import BEFORE
from saeattr.reporting.figures.lens import FEWEST_PAIRS, RUNS, lens_title, role_text
from saeattr.reporting.figures.style import effect_map, figure_text, house_style, new_figure
from saeattr.reporting.readings import n_pairs_of

#: A map has at most so many positions: those nearest to the end.
MOST_COLUMNS = 32


def lens_map(rows: pd.DataFrame, labels: Mapping[str, str], name: str) -> Figure | None:
    """Layer by position: the mean over pairs in either run, and their difference; one scale a direction.

    Args:
        rows, labels: as for ``lens_figure``.
    """
    chosen = list(dict.fromkeys(rows["direction"]))
    if not chosen:
        return None
    with house_style():
        layers = int(rows["layer"].max()) + 2
        figure = new_figure(10.6, 0.8 + len(chosen) * (1.5 + 0.09 * max(10, layers)))
        panels = figure.subplots(len(chosen), 3, sharey=True, squeeze=False)
        for row, direction in zip(panels, chosen, strict=True):
            own = rows[rows["direction"] == direction]
            cells = _cells(own.assign(difference=own["clean"] - own["corrupted"]))
            largest = max(float(np.nanmax(np.abs(cell.to_numpy()), initial=0.0)) for cell in cells.values()) or 1.0
            norm = Normalize(-largest, largest)
            for axes, (run, cell) in zip(row, cells.items(), strict=True):
                axes.imshow(cell, cmap=effect_map(), norm=norm, aspect="auto", origin="lower")
                _position_axis(axes, list(cell.columns))
                axes.set_title(figure_text(f"{role_text(own)}: {run}"), fontsize=9)
                axes.tick_params(length=0)
            bar = figure.colorbar(ScalarMappable(norm, effect_map()), ax=row[-1], format="%+.3g", pad=0.03)
            bar.set_label(figure_text("\n".join(textwrap.wrap(labels.get(direction, direction), 26))), fontsize=7)
            step = max(1, layers // 9)
            marks = range(1, layers, step)
            row[0].set_yticks([0, *marks], ["in", *(str(mark + BEFORE) for mark in marks)])
            row[0].set_ylabel("layer")
        words = f"logit lens by layer and position, mean of {n_pairs_of(rows)} pairs; in: before layer 0"
        lens_title(figure, name, [words])
    return figure


def _cells(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Mean over pairs by layer and position, of either run and of their difference; the last position at the right."""
    several = len(set(rows["role"])) > 1
    chosen, column = (rows[rows["from_end"] == 0], "role") if several else (rows, "from_end")
    counts = chosen[chosen["layer"] == BEFORE].groupby(column, sort=not several).size()
    order = list(counts.index[counts >= min(FEWEST_PAIRS, int(counts.max()))])
    # Positions come in the order of reading: the last one at the right.
    order = order if several else order[:MOST_COLUMNS][::-1]
    found = {}
    for run, title in (*((run, f"{run} run") for run in RUNS), ("difference", "clean - corrupted")):
        found[title] = chosen.groupby(["layer", column])[run].mean().unstack().reindex(columns=order)
    return found


def _position_axis(axes: Axes, columns: Sequence[object]) -> None:
    if all(isinstance(column, (int, np.integer)) for column in columns):
        step = max(1, len(columns) // 8)
        marks = [at for at, column in enumerate(columns) if int(str(column)) % step == 0]
        axes.set_xticks(marks, [str(columns[at]) for at in marks])
        axes.set_xlabel("positions before the last (0 = last)")
    else:
        axes.set_xticks(range(len(columns)), [figure_text(str(column)) for column in columns], rotation=60, ha="right")
