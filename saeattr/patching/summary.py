"""Patching over pairs: mean effects, and normalised ones, with intervals; how well gradients predict exact effects."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saeattr.stats import mean_interval, ratio_interval
from saeattr.tables import PAIR

#: What tells apart the runs of a stage, and the rows of one of them.
VARIANT = ["component", "by", "direction", "method"]
CELL = ["layer", "head", "place", "position", "joint"]


def patching_summary(table: pd.DataFrame) -> pd.DataFrame:
    """What patching does in the mean over distinct pairs, cell by cell.

    A pair without a row has no position there that could change anything, and counts with an effect of 0. Positions of
    single tokens are those of a pair's own: of several pairs they are told apart by their role alone.

    Args:
        table: ``tables.PATCHING``.

    Returns:
        the columns of ``VARIANT`` and ``CELL``; effect, with effect_low and effect_high (Student, 95 %); normalised,
        with normalised_low and normalised_high: mean(patched - clean) / mean(corrupted - clean), 0 where the patched
        run reads as the clean one; n_pairs.
    """
    if table.empty:
        columns = ("effect", "effect_low", "effect_high", "normalised", "normalised_low", "normalised_high", "n_pairs")
        return pd.DataFrame(columns=[*VARIANT, *CELL, *columns])
    if table.groupby(PAIR).ngroups > 1 and (table["position"] >= 0).any():
        table = _tokens_by_role(table)
    parts = []
    for variant, own in table.groupby(VARIANT, sort=False):
        runs = own.groupby(PAIR, sort=False)[["clean", "corrupted"]].first()
        gap = (runs["corrupted"] - runs["clean"]).to_numpy()
        cells = own.pivot_table(index=CELL, columns=PAIR, values="effect", aggfunc="sum", sort=False)
        effects = cells.reindex(columns=runs.index).fillna(0.0).to_numpy()
        # Of what was put into the corrupted run, the change is from there.
        above = effects if own["direction"].iloc[0] == "noising" else effects + gap
        rows = cells.index.to_frame(index=False).assign(**_columns(effects, above, gap))
        parts.append(rows.assign(**dict(zip(VARIANT, variant, strict=True))))
    found = pd.concat(parts, ignore_index=True)
    return found[[*VARIANT, *CELL, *(name for name in found.columns if name not in (*VARIANT, *CELL))]]


def _tokens_by_role(table: pd.DataFrame) -> pd.DataFrame:
    """The mean effect of a single token of each role, pair by pair."""
    alike = [*PAIR, *VARIANT, "layer", "head", "place", "joint"]
    means = table.groupby(alike, sort=False, as_index=False)[["effect", "clean", "corrupted"]].mean()
    return means.assign(position=-1)


def _columns(
    effects: NDArray[np.float64], above: NDArray[np.float64], gap: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Means, ratios and intervals of each row of [cells, pairs]."""
    low, high = mean_interval(effects)
    ratios = np.array([ratio_interval(row, gap) for row in above])
    return {
        "effect": effects.mean(axis=1),
        "effect_low": low,
        "effect_high": high,
        "normalised": ratios[:, 0],
        "normalised_low": ratios[:, 1],
        "normalised_high": ratios[:, 2],
        "n_pairs": np.full(len(effects), effects.shape[1]),
    }


def paired_effects(table: pd.DataFrame) -> pd.DataFrame:
    """The exact effect of each patch beside its estimate by gradient, where both are known; joint places left out.

    Returns:
        group, pair_id, component, by, direction, the columns of ``CELL``, exact, attribution.
    """
    key = [*PAIR, "component", "by", "direction", *CELL]
    single = table[~table["joint"].astype(bool)]
    exact, estimated = (
        single[single["method"] == method][[*key, "effect"]].rename(columns={"effect": method})
        for method in ("exact", "attribution")
    )
    return exact.merge(estimated, on=key)


def patching_agreement(table: pd.DataFrame) -> pd.DataFrame:
    """How well effects by gradient predict exact ones, component by component.

    Args:
        table: ``tables.PATCHING``.

    Returns:
        component, by, direction; pearson: over cells (layer, head, place), of means over pairs; pearson_pairs: over
        every pair's cells; captured: sum of estimates / sum of exact effects over cells; n_cells, n_pairs. NaN where
        nothing varies. No row without both methods.
    """
    both = paired_effects(table)
    rows = []
    for (component, by, direction), own in both.groupby(["component", "by", "direction"], sort=False):
        cells = own.groupby(["layer", "head", "place"])[["exact", "attribution"]].sum()
        whole = cells["exact"].sum()
        rows.append(
            {
                "component": component,
                "by": by,
                "direction": direction,
                "pearson": _pearson(cells),
                "pearson_pairs": _pearson(own[["exact", "attribution"]]),
                "captured": cells["attribution"].sum() / whole if whole else float("nan"),
                "n_cells": len(cells),
                "n_pairs": own.groupby(PAIR).ngroups,
            }
        )
    names = ["component", "by", "direction", "pearson", "pearson_pairs", "captured", "n_cells", "n_pairs"]
    return pd.DataFrame(rows, columns=names)


def _pearson(both: pd.DataFrame) -> float:
    values = both.to_numpy(dtype=float)
    if len(values) < 3 or (values.std(axis=0) == 0).any():
        return float("nan")
    return float(np.corrcoef(values.T)[0, 1])
