"""In which layers a direction appears: from the curve of a separation over layers to two layers with intervals.

A separation is what the lens shows beyond what is always there: at the last span against the earlier ones of the clean
run (``positions``), or in the clean run against the corrupted one at the last span (``runs``). Per pair it *begins* at
the first layer from which on it keeps at least 10 % of its final value, and is *complete* at the first from which on it
keeps 90 %: the two ends of a rise time (IEEE Std 181). What is said of several pairs is the median, with its interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saeattr.stats import median_interval
from saeattr.tables import LENS_ONSET, PAIR

#: Shares of the final separation at which it begins and is complete.
BEGINS, COMPLETE = 0.1, 0.9
#: What is compared, as ``tables.LENS_ONSET`` says it.
POSITIONS, RUNS = "positions", "runs"

_KEYS = ["temperature", "direction", "role"]


def lens_onsets(rows: pd.DataFrame, labels: dict[str, str] | None = None, group: str | None = None) -> pd.DataFrame:
    """The layers in which each direction appears, at each role.

    Args:
        rows: ``tables.LOGIT_LENS`` of one group, or of several that are taken together.
        labels: of the directions, in words.
        group: the name to give them; by default their own.
    """
    found = []
    for key, own in rows.groupby(_KEYS, sort=False, dropna=False):
        names = dict(zip(_KEYS, key, strict=True))
        names["label"] = (labels or {}).get(str(names["direction"]), str(names["direction"]))
        names["group"] = group or ", ".join(map(str, own["group"].unique()))
        for contrast in (POSITIONS, RUNS):
            curves = separations(own, contrast)
            if len(curves):
                found.append({**names, "contrast": contrast, **_onset(curves)})
    return LENS_ONSET.frame(pd.DataFrame(found))


def separations(rows: pd.DataFrame, contrast: str) -> pd.DataFrame:
    """The separation of each pair (rows) after each layer (columns), of one direction at one role.

    A pair with a single span has none between positions; one whose last span has no partner has none between runs.
    """
    ordered = rows.pivot(index=[*PAIR, "from_end"], columns="layer", values=["clean", "corrupted"])
    from_end = ordered.index.get_level_values("from_end")
    last = ordered[from_end == 0].droplevel("from_end")
    if contrast == RUNS:
        return (last["clean"] - last["corrupted"]).dropna()
    earlier = ordered.loc[from_end > 0, "clean"].groupby(PAIR, sort=False).mean()
    # Only pairs that have both.
    return (last["clean"] - earlier).dropna()


def _onset(curves: pd.DataFrame) -> dict[str, float]:
    """What is said of the pairs' curves together."""
    layers, values = curves.columns.to_numpy(), curves.to_numpy(dtype=float)
    final = values[:, -1]
    numbers: dict[str, float] = {"n_pairs": len(curves), "n_layers": int(layers[-1]) + 1}
    reached = {"begins": reaches(values, BEGINS), "complete": reaches(values, COMPLETE)}
    for name, own in {"separation": final, **{name: layers[at].astype(float) for name, at in reached.items()}}.items():
        # A pair without any separation in the end has no layer at which it appears.
        known = own if name == "separation" else own[final != 0]
        low, high = median_interval(known[None])
        numbers |= {
            name: float(np.median(known)) if len(known) else np.nan,
            f"{name}_low": float(low[0]),
            f"{name}_high": float(high[0]),
        }
    return {**numbers, "apart_from": apart_from(layers, values)}


def reaches(curves: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """The column from which on each curve keeps at least a share of its last value, on the same side of 0.

    Args:
        curves: [pairs, layers].
    """
    final = curves[:, -1:]
    kept = curves * np.sign(final) >= share * np.abs(final)
    # Counted from the end: how many columns in a row keep it.
    return kept.shape[1] - np.logical_and.accumulate(kept[:, ::-1], axis=1).sum(axis=1)


def apart_from(layers: Sequence[int] | NDArray[np.int64], curves: NDArray[np.float64]) -> float:
    """The first layer from which on the interval of the median leaves out 0, always on the same side; NaN for none."""
    low, high = median_interval(np.ascontiguousarray(curves.T))
    side = np.where(low > 0, 1, np.where(high < 0, -1, 0))
    found = np.nan
    for layer, own in zip(reversed(list(layers)), side[::-1], strict=True):
        if own == 0 or own != side[-1]:
            break
        found = float(layer)
    return found
