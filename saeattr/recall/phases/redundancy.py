"""What layers do together against the sum of what each does alone, window by window, as shares of the swing.

Above the sum, layers make up for each other: while one is patched the others still do its work. Below it they do the
same again, or one passes on what another wrote (its single effect then has the others' in it). Both at once cancel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from saeattr.stats import mean_interval, ratio_interval
from saeattr.tables import RECALL_JOINT

CURVE = ["direction", "component", "place"]
WINDOW = ["first_layer", "last_layer"]


def window_shares(patches: pd.DataFrame) -> pd.DataFrame:
    """The share of the swing that each window moves, beside the sum of its layers' single shares.

    Args:
        patches: ``tables.WINDOW_PATCHES``.

    Returns:
        group, pair_id, the columns of ``CURVE`` and ``WINDOW``, joint, summed; windows of several layers only.
    """
    key = ["group", "pair_id", *CURVE]
    sign = np.where(patches["direction"] == "noising", 1.0, -1.0)
    shares = patches.assign(share=sign * patches["effect"] / (patches["corrupted"] - patches["clean"]))
    alone = shares[shares["first_layer"] == shares["last_layer"]]
    together = shares[shares["first_layer"] < shares["last_layer"]].rename(columns={"share": "joint"})
    single = alone.pivot_table(index=key, columns="first_layer", values="share")
    parts = []
    for (first, last), own in together.groupby(WINDOW, sort=True):
        summed = single.loc[:, first:last].sum(axis=1).rename("summed")  # pyright: ignore[reportCallIssue]
        parts.append(own[[*key, *WINDOW, "joint"]].merge(summed.reset_index(), on=key))
    names = [*key, *WINDOW, "joint", "summed"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=pd.Index(names))


def joint_table(patches: pd.DataFrame) -> pd.DataFrame:
    """Every window of several layers in the mean over facts: ``tables.RECALL_JOINT``."""
    rows = []
    for cell, own in window_shares(patches).groupby([*CURVE, *WINDOW], sort=False):
        joint, summed = (own[name].to_numpy(dtype=float) for name in ("joint", "summed"))
        row: dict[str, Any] = dict(zip([*CURVE, *WINDOW], cell, strict=True))
        row |= {"n_together": row["last_layer"] - row["first_layer"] + 1, "n_facts": len(own)}
        for name, values in (("joint", joint), ("summed", summed), ("excess", joint - summed)):
            low, high = mean_interval(values[None])
            row |= {name: values.mean(), f"{name}_low": low[0], f"{name}_high": high[0]}
        row |= dict(zip(("ratio", "ratio_low", "ratio_high"), ratio_interval(joint, summed), strict=True))
        rows.append(row)
    return RECALL_JOINT.frame(pd.DataFrame(rows))


def all_layers(joint: pd.DataFrame) -> pd.DataFrame:
    """Of ``tables.RECALL_JOINT`` the windows of all layers."""
    longest = joint.groupby(CURVE)["n_together"].transform("max")
    return joint[joint["n_together"] == longest]
