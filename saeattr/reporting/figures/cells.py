"""Shares as coloured cells with their numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from saeattr.reporting.figures.style import effect_map


def share_cells(axes: Axes, cells: pd.DataFrame, most_columns: int, size: int = 7) -> None:
    """Colour cells from -1 to 1, and write each number that is known in its cell.

    Args:
        most_columns: with more than these there is no room for numbers.
        size: of the numbers, in points.
    """
    values = cells.to_numpy(dtype=float)
    axes.imshow(values, cmap=effect_map(), vmin=-1, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values) if cells.shape[1] <= most_columns else ():
        if np.isfinite(value):
            colour = "white" if abs(value) > 0.75 else "black"
            text = f"{round(value, 2) + 0.0:.2f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
