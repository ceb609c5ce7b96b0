"""The phases of recall: in which layers a fact is read, retrieved, moved and written, from the curves of localisation.

Of each phase the share of the swing that a component moves is averaged over facts, layer by layer, and counted where it
is positive: w_l = max(mean over facts of share_l, 0). The phase **carries** sum_l w_l; its **range** is the shortest
run of neighbouring layers that holds at least 80 % of that (of equally short ones the one that holds most), its
**centre** sum_l l w_l / sum_l w_l. Effects of single layers do not add up, so what a phase carries may exceed 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saeattr.recall.localisation.curves import ENTITY, FACT, FINAL
from saeattr.recall.phases.draws import Array, draw_interval, drawn_columns, fact_weights
from saeattr.tables import RECALL_CONCENTRATION, RECALL_ORDERS, RECALL_PHASES

#: A range of layers, or the smallest set of them, holds this part of what all layers carry.
HELD = 0.8
#: What carries less of the swing over all layers than this has nothing that could be placed.
ABSENT = 0.1


@dataclass(frozen=True)
class Phase:
    """What a phase is read of: a component at a place."""

    name: str
    component: str
    place: str


READ = Phase("read", "resid_pre", ENTITY)
RETRIEVED = Phase("retrieved", "mlp_out", ENTITY)
MOVED = Phase("moved", "attn_out", FINAL)
WRITTEN = Phase("written", "mlp_out", FINAL)
PHASES = (READ, RETRIEVED, MOVED, WRITTEN)
#: Which is to lie before which.
ORDERS = ((READ, MOVED), (RETRIEVED, MOVED), (MOVED, WRITTEN), (RETRIEVED, WRITTEN))
#: Of which it is asked over how many layers they are spread.
SPREAD = tuple((component, place) for component in ("attn_out", "mlp_out") for place in (ENTITY, FINAL))

#: From mean shares, [draws, layers], to a number of each draw.
Measure = Callable[[Array], Array]


def carried(means: Array) -> Array:
    """What all layers move together where they move towards the other run: the sum of positive mean shares."""
    return means.clip(min=0).sum(axis=1)


def centre(means: Array) -> Array:
    """The mean layer by what each carries; NaN where none carries anything."""
    positive = means.clip(min=0)
    with np.errstate(invalid="ignore"):
        return positive @ np.arange(means.shape[1]) / positive.sum(axis=1)


def layer_range(means: Array, held: float = HELD) -> tuple[Array, Array]:
    """First and last layer of the shortest run of layers that holds a part of the sum; NaN where nothing is carried."""
    positive, n_layers = means.clip(min=0), means.shape[1]
    whole = positive.sum(axis=1)
    sums = np.concatenate([np.zeros((len(means), 1)), positive.cumsum(axis=1)], axis=1)
    begin, end = np.full(len(means), np.nan), np.full(len(means), np.nan)
    for size in range(1, n_layers + 1):
        inside = sums[:, size:] - sums[:, :-size]
        # Sums of the same numbers in another order differ in their last digits.
        found = np.isnan(begin) & (whole > 0) & (inside.max(axis=1) >= held * whole * (1 - 1e-12))
        begin[found] = inside[found].argmax(axis=1)
        end[found] = begin[found] + size - 1
    return begin, end


def fewest_layers(means: Array, held: float = HELD) -> Array:
    """The size of the smallest set of layers, side by side or not, that holds a part of the sum; NaN without any."""
    ordered = -np.sort(-means.clip(min=0), axis=1)
    whole = ordered.sum(axis=1, keepdims=True)
    reached = ordered.cumsum(axis=1) >= held * whole * (1 - 1e-12)
    return np.where(whole[:, 0] > 0, 1.0 + reached.argmax(axis=1), np.nan)


def largest_part(means: Array) -> Array:
    """The part of the sum that the largest layer has."""
    positive = means.clip(min=0)
    with np.errstate(invalid="ignore"):
        return positive.max(axis=1) / positive.sum(axis=1)


def share_matrix(curves: pd.DataFrame, direction: str, component: str, place: str) -> pd.DataFrame:
    """The share of the swing of one curve, facts by layers; the same facts in the same order for every curve.

    Args:
        curves: ``tables.RECALL_CURVES``.
    """
    own = curves[(curves["direction"] == direction) & (curves["component"] == component) & (curves["place"] == place)]
    return own.pivot_table(index=FACT, columns="layer", values="share").sort_index()


def drawn_means(shares: pd.DataFrame) -> Array:
    """Mean shares of the facts as they are and in every draw, [1 + draws, layers]."""
    return fact_weights(len(shares)) @ shares.to_numpy()


def phases(curves: pd.DataFrame) -> pd.DataFrame:
    """The layers of each phase, in both directions: ``tables.RECALL_PHASES``."""
    rows = []
    for direction in curves["direction"].unique():
        for phase in PHASES:
            shares = share_matrix(curves, direction, phase.component, phase.place)
            if shares.empty:
                continue
            n_facts, n_layers = shares.shape
            means = drawn_means(shares)
            (begin, end), middle = layer_range(means), centre(means)
            depths = {
                "depth_begin": begin / n_layers,
                "depth_end": (end + 1) / n_layers,
                "depth_centre": (middle + 0.5) / n_layers,
            }
            numbers = {"carried": carried(means), "begin": begin, "end": end, "centre": middle, **depths}
            row = {"phase": phase.name, "direction": direction, "component": phase.component, "place": phase.place}
            row |= {"n_layers": n_layers, "n_facts": n_facts}
            for name, values in numbers.items():
                row |= drawn_columns(name, values, n_facts)
            rows.append(row)
    return RECALL_PHASES.frame(pd.DataFrame(rows))


def concentration(curves: pd.DataFrame) -> pd.DataFrame:
    """Over how many layers attention and MLPs are spread at each place: ``tables.RECALL_CONCENTRATION``."""
    rows = []
    for direction in curves["direction"].unique():
        for component, place in SPREAD:
            shares = share_matrix(curves, direction, component, place)
            if shares.empty:
                continue
            n_facts, n_layers = shares.shape
            means = drawn_means(shares)
            row = {"direction": direction, "component": component, "place": place}
            row |= {"n_layers": n_layers, "n_facts": n_facts}
            for name, measure in (("carried", carried), ("fewest", fewest_layers), ("largest", largest_part)):
                row |= drawn_columns(name, measure(means), n_facts)
            rows.append(row)
    return RECALL_CONCENTRATION.frame(pd.DataFrame(rows))


def orders(curves: pd.DataFrame) -> pd.DataFrame:
    """Whether one phase lies before another, draw by draw of the same facts: ``tables.RECALL_ORDERS``."""
    rows = []
    for direction in curves["direction"].unique():
        for earlier, later in ORDERS:
            both = [share_matrix(curves, direction, phase.component, phase.place) for phase in (earlier, later)]
            if any(shares.empty for shares in both):
                continue
            means, n_facts = [drawn_means(shares) for shares in both], len(both[0])
            difference = centre(means[1]) - centre(means[0])
            drawn = difference[1:]
            unknown = n_facts < 2 or bool(np.isnan(drawn).any())
            probability = float("nan") if unknown else float(((drawn > 0) + 0.5 * (drawn == 0)).mean())
            rows.append(
                {
                    "direction": direction,
                    "earlier": earlier.name,
                    "later": later.name,
                    **drawn_columns("difference", difference, n_facts),
                    "probability": probability,
                    "carried": min(float(carried(one)[0]) for one in means),
                    "n_facts": n_facts,
                }
            )
    return RECALL_ORDERS.frame(pd.DataFrame(rows))


def late_part(means: Array, n_last: int) -> Array:
    """The part of what is carried that the last few layers hold."""
    positive = means.clip(min=0)
    with np.errstate(invalid="ignore"):
        return positive[:, -n_last:].sum(axis=1) / positive.sum(axis=1)


def late_interval(shares: pd.DataFrame, n_last: int) -> tuple[float, float, float]:
    """``late_part`` of facts by layers, with its interval over draws."""
    values = late_part(drawn_means(shares), n_last)
    low, high = draw_interval(values) if len(shares) > 1 else (float("nan"), float("nan"))
    return float(values[0]), low, high
