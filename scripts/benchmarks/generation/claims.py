"""How much longer lists become in each setting of the generation benchmark, and what the controls do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from saeattr.generation.summary import summarise
from saeattr.runs.base import BASES
from saeattr.sites import KINDS
from saeattr.stats import mean_interval, ratio_interval

RANKINGS = {"attribution": "attribution patching", "ig": "integrated gradients", "search": "search"}
KEYS = ["ranking", "n_features", "base", "kind", "layer"]


def judge_settings(rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each setting: kinds in order, then bases, then layers."""
    own = rows[rows["n_features"] > 0]
    found = pd.DataFrame([judge(key, part) for key, part in own.groupby(KEYS, sort=False)])
    order = {name: at for at, name in enumerate([*KINDS, *BASES])}
    return found.sort_values(["kind", "base", "layer"], key=lambda column: column.replace(order), kind="stable")


def judge_topics(rows: pd.DataFrame) -> pd.DataFrame:
    """The same for each topic by itself, where there are controls."""
    own = rows[rows["ranking"] == "attribution"]
    parts = [judge(key, part) | {"group": topic} for (topic, *key), part in own.groupby(["group", *KEYS], sort=False)]
    return pd.DataFrame(parts)


def by_list(own: pd.DataFrame, condition: str) -> np.ndarray:
    """The items of every list in one condition, sets of controls averaged within a list."""
    return own[own["condition"] == condition].groupby(["group", "list_id"])["items"].mean().to_numpy()


def judge(key: Any, own: pd.DataFrame) -> dict[str, Any]:
    """One setting at one site, all topics together.

    Returns:
        nothing, items: a list's mean items with nothing ablated and with the features; growth: their ratio; added,
        controls, steering: what each adds to nothing, list by list; all with Student's 95 % intervals over lists.
        length_ratio: how far the controls moved x against how far the features would have. joint: of a search.
    """
    row: dict[str, Any] = dict(zip(KEYS, key, strict=True))
    nothing, features = by_list(own, "nothing"), by_list(own, "features")
    row["nothing"], row["items"] = nothing.mean(), features.mean()
    row |= spread("added", features - nothing)
    row["growth"], row["growth_low"], row["growth_high"] = ratio_interval(features, nothing)
    for name in ("controls", "steering"):
        if name in set(own["condition"]):
            row |= spread(name, by_list(own, name) - nothing)
    row["length_ratio"] = own.loc[own["condition"] == "controls", "length_ratio"].mean()
    if own["joint"].notna().any():
        row["joint"] = own.groupby("group")["joint"].first().mean()
    return row


def spread(name: str, values: np.ndarray) -> dict[str, float]:
    low, high = mean_interval(values[None])
    return {name: float(values.mean()), f"{name}_low": float(low[0]), f"{name}_high": float(high[0])}


def judge_places(rows: pd.DataFrame) -> pd.DataFrame:
    """Items added by the corrupted run's whole x at some tokens only; one line for each place and layer."""
    lines = []
    for (where, kind, layer), own in rows[rows["n_features"] < 0].groupby(["ranking", "kind", "layer"], sort=False):
        same = rows[(rows["kind"] == kind) & (rows["layer"] == layer) & (rows["base"] == "corrupted")]
        nothing = by_list(same[(same["ranking"] == "attribution") & (same["n_features"] == 5)], "nothing")
        lines.append({"where": where, "layer": layer, **spread("added", by_list(own, "features") - nothing)})
    return pd.DataFrame(lines)


def measures(rows: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """Every measure by condition, all topics together, for the settings ``chosen``; unablated lists once."""
    lines: list[dict[str, Any]] = []
    for setting in chosen[KEYS].to_dict("records"):
        part = rows[(rows[KEYS] == pd.Series(setting)).all(axis=1)]
        pooled = part.assign(list_id=part["group"] + "/" + part["list_id"], group="all")
        for condition, one in summarise(pooled).groupby("condition", sort=False):
            if condition == "nothing" and lines:
                continue
            place = {"site": f"{setting['kind']}.{setting['layer']}", "ablated": ablated(setting)}
            if condition == "nothing":
                place = {"site": "", "ablated": ""}
            lines.append({**place, "condition": condition})
            for line in one.itertuples():
                lines[-1][str(line.measure)] = f"{line.mean:.2f} [{line.low:.2f}, {line.high:.2f}]"
    return pd.DataFrame(lines)


def ablated(setting: Any) -> str:
    return f"{setting['n_features']} by {RANKINGS[setting['ranking']]}"
