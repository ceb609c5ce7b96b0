"""What the sources say of when a fact is read, moved and written; every limit was set before anything was measured.

Of a count of facts "most" is more than half, and its interval is Clopper and Pearson's; of layers and parts it is the
bootstrap's. A phase that carries less than ``ABSENT`` of the swing has no place, so what is said of it is undecided.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from saeattr.recall.claims import Claim
from saeattr.recall.localisation.curves import ENTITY, NEVER
from saeattr.recall.phases.ranges import (
    ABSENT,
    HELD,
    MOVED,
    READ,
    RETRIEVED,
    WRITTEN,
    Phase,
    late_interval,
    share_matrix,
)
from saeattr.recall.phases.redundancy import all_layers
from saeattr.stats import share_interval

PART = "phases"
LOCALISATION = "localisation of 60 facts in Gemma 2B"
GEVA = "Geva et al. 2023, arXiv 2304.14767"
MECHANISMS = "arXiv 2403.19521"
HYDRA = "McGrath et al. 2023, arXiv 2307.15771"
#: Layers that are to write the answer.
LAST = 3
NAN = float("nan")


@dataclass(frozen=True)
class PhaseTables:
    """The tables that claims are judged by; those of localisation may be without rows."""

    curves: pd.DataFrame
    release: pd.DataFrame
    phases: pd.DataFrame
    orders: pd.DataFrame
    joint: pd.DataFrame


def phase_claims(tables: PhaseTables) -> list[Claim]:
    """Every claim that the tables can judge."""
    found = list(_together(tables.joint))
    if tables.phases.empty:
        return found
    return [*_of_entity(tables), *_of_final(tables), *found]


def _of_entity(tables: PhaseTables) -> Iterator[Claim]:
    """When the entity is read, and when it is left."""
    row = _phase(tables, READ)
    said = "facts are read from the entity in the first fifth of the layers"
    measure = "the depth of the centre of what resid_pre at the entity moves"
    numbers = _numbers(row, "depth_centre", row["carried"])
    yield Claim(PART, "read-early", said, LOCALISATION, measure, *numbers, "below", 0.2, int(row["n_facts"]))
    own = tables.release[(tables.release["direction"] == "noising") & (tables.release["place"] == ENTITY)]
    depth = own["release_layer"] / int(row["n_layers"])
    middle = (own["release_layer"] != NEVER) & (depth >= 1 / 3) & (depth <= 2 / 3)
    said = "most facts leave their entity in the middle third of the layers"
    measure = "the share of facts whose release layer lies there"
    yield Claim(PART, "released-in-the-middle", said, LOCALISATION, measure, *_counted(middle), "above", 0.5, len(own))
    crossed = own["cross_layer"] != NEVER
    said = "the final position takes over from the entity before the last layer"
    measure = "the share of facts whose curves cross"
    yield Claim(PART, "final-takes-over", said, LOCALISATION, measure, *_counted(crossed), "above", 0.5, len(own))


def _of_final(tables: PhaseTables) -> Iterator[Claim]:
    """What attention moves to the final position, and when its MLPs write."""
    moved = _phase(tables, MOVED)
    said = "attention moves the fact to the final position in the second half of the layers"
    measure = "the depth of the centre of what attn_out at the final position moves"
    numbers = _numbers(moved, "depth_centre", moved["carried"])
    yield Claim(PART, "moved-late", said, GEVA, measure, *numbers, "above", 0.5, int(moved["n_facts"]))
    for earlier, later, name, said, source in (
        (RETRIEVED, MOVED, "moved-after-retrieval", "attention moves what MLPs at the entity retrieved before", GEVA),
        (MOVED, WRITTEN, "written-after-moving", "MLPs at the final position write after attention moved", MECHANISMS),
    ):
        rows = tables.orders[(tables.orders["earlier"] == earlier.name) & (tables.orders["later"] == later.name)]
        (row,) = rows[rows["direction"] == "noising"].to_dict("records")
        measure = f"centre of {later.component} at {later.place} - centre of {earlier.component} at {earlier.place}"
        measure += f", in layers{_weakly(row['carried'])},"
        numbers = _numbers(row, "difference", row["carried"])
        yield Claim(PART, name, said, source, measure, *numbers, "above", 0.0, int(row["n_facts"]))
    shares = share_matrix(tables.curves, "noising", WRITTEN.component, WRITTEN.place)
    said = f"the last {LAST} layers' MLPs write the answer"
    measure = f"the part of what mlp_out at the final position moves that the last {LAST} layers hold"
    numbers = late_interval(shares, LAST)
    yield Claim(PART, "last-layers-write", said, LOCALISATION, measure, *numbers, "above", HELD, len(shares))


def _together(joint: pd.DataFrame) -> Iterator[Claim]:
    """Whether layers make up for each other."""
    whole = all_layers(joint)
    # Attention is all that can differ at the final position, so all layers of it together are the swing.
    told = whole[(whole["direction"] == "noising") & (whole["component"] != MOVED.component)]
    for row in told.to_dict("records"):
        what = f"{row['component']} at {row['place']}"
        said = f"layers make up for each other: {what} of all layers does more than the sum of single ones"
        measure = f"joint share / summed single shares{_weakly(row['summed'])}"
        name = f"backed-up-{row['component']}-{row['place']}"
        numbers = _numbers(row, "ratio", row["summed"])
        yield Claim(PART, name, said, HYDRA, measure, *numbers, "above", 1.0, int(row["n_facts"]))


def _phase(tables: PhaseTables, phase: Phase) -> Mapping[Hashable, Any]:
    """The phase's row, noising."""
    rows = tables.phases[(tables.phases["phase"] == phase.name) & (tables.phases["direction"] == "noising")]
    return rows.iloc[0].to_dict()


def _numbers(row: Mapping[Hashable, Any], name: str, carried: float) -> tuple[float, float, float]:
    """A number with its interval, without one where too little is carried to say anything of it."""
    low, high = (row[f"{name}_low"], row[f"{name}_high"]) if carried >= ABSENT else (NAN, NAN)
    return row[name], low, high


def _weakly(carried: float) -> str:
    return (
        "" if carried >= ABSENT else f" (of single layers' shares adding up to {carried:.2f} of the swing: too little)"
    )


def _counted(so: pd.Series) -> tuple[float, float, float]:
    """A share of facts with its interval."""
    low, high = share_interval(int(so.sum()), len(so))
    return float(so.mean()), low, high
