"""Two recall studies by fraction of depth: curves, where facts are released, cross and jump, concentration, redundancy.

Depth is layers passed / number of layers, so that models of different depth stand beside each other. Each number is of
all facts of its own study; of facts that both studies have (the same category and pair_id) a draw takes both or none,
which is what makes the difference's interval narrow where the models agree fact by fact. In a model of L layers an
onset is known to 1 / L of the depth: a difference smaller than that between models of unequal depth says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from saeattr.errors import UserError
from saeattr.recall.localisation.curves import ENTITY, FACT, FINAL, NEVER
from saeattr.recall.phases.draws import Array, drawn_columns, fact_weights
from saeattr.recall.phases.ranges import (
    ABSENT,
    PHASES,
    SPREAD,
    carried,
    centre,
    fewest_layers,
    largest_part,
    share_matrix,
)
from saeattr.recall.phases.redundancy import WINDOW, window_shares
from saeattr.recall.phases.windows import WINDOWED
from saeattr.tables import RECALL_COMPARED, RECALL_COMPARED_CURVES

#: Where curves are read between 0 and 1.
GRID = np.linspace(0, 1, 21)
DIRECTION = "noising"


@dataclass(frozen=True)
class RecallRun:
    """What is compared of one study.

    Attributes:
        name: what a reader calls it.
        curves, release, answers: ``tables.RECALL_CURVES``, ``RECALL_RELEASE`` and ``RECALL_ANSWERS``.
        windows: ``tables.WINDOW_PATCHES``.
    """

    name: str
    curves: pd.DataFrame
    release: pd.DataFrame
    answers: pd.DataFrame
    windows: pd.DataFrame

    @property
    def n_layers(self) -> int:
        return int(self.curves["layer"].max()) + 1

    @property
    def facts(self) -> pd.MultiIndex:
        """Category and pair_id, in order."""
        return pd.MultiIndex.from_frame(self.curves[FACT].drop_duplicates()).sort_values()


@dataclass(frozen=True)
class RecallComparison:
    """Two recall studies beside each other.

    Attributes:
        a, b: their names; n_layers: of both models.
        rows: ``tables.RECALL_COMPARED``; curves: ``tables.RECALL_COMPARED_CURVES``.
        folder: where they are written; None where they are not.
    """

    a: str
    b: str
    n_layers: tuple[int, int]
    rows: pd.DataFrame
    curves: pd.DataFrame
    folder: Path | None = None


@dataclass(frozen=True)
class _Weighed:
    """A study and how much each of its facts weighs in each draw, [1 + draws, facts]."""

    run: RecallRun
    weights: pd.DataFrame

    def mean(self, by_fact: pd.DataFrame) -> Array:
        """The mean over facts of each column, [1 + draws, columns]; facts without a row are left out."""
        own = self.weights.loc[:, by_fact.index].to_numpy()
        with np.errstate(invalid="ignore"):
            return own @ by_fact.to_numpy(dtype=float) / own.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class _Number:
    """A number of a study: what, of what, its unit, and how it is made; None where the study has no rows for it."""

    measure: str
    of: str
    unit: str
    make: Callable[[_Weighed], Array | None]


def compare_runs(a: RecallRun, b: RecallRun) -> RecallComparison:
    """Every number and curve that both studies have.

    Raises:
        UserError: one of them has no curves, because its facts were not localised.
    """
    for run in (a, b):
        if run.curves.empty:
            raise UserError(f"{run.name} has no curves of facts: run saeattr recall run --parts localisation,phases")
    both = _weighed(a, b)
    counts = {"n_a": len(a.facts), "n_b": len(b.facts), "n_shared": len(a.facts.intersection(b.facts))}
    rows = []
    for number in _numbers():
        values = [number.make(one) for one in both]
        if values[0] is None or values[1] is None:
            continue
        own = {"measure": number.measure, "of": number.of, "unit": number.unit}
        rows.append({**own, **_beside(values[0], values[1], ("a", "b"), counts), **counts})
    curves = [{**row, **counts} for row in _curve_rows(both, counts)]
    tables = RECALL_COMPARED.frame(pd.DataFrame(rows)), RECALL_COMPARED_CURVES.frame(pd.DataFrame(curves))
    return RecallComparison(a.name, b.name, (a.n_layers, b.n_layers), *tables)


def _weighed(a: RecallRun, b: RecallRun) -> tuple[_Weighed, _Weighed]:
    """Both with the weights of their facts in draws of the facts of either."""
    union = a.facts.union(b.facts)
    weights = pd.DataFrame(fact_weights(len(union)), columns=union)
    return _Weighed(a, weights.loc[:, a.facts]), _Weighed(b, weights.loc[:, b.facts])


def _beside(one: Array, other: Array, names: tuple[str, str], counts: dict[str, int]) -> dict[str, Any]:
    """A number of both and its difference, with intervals; none of a single fact."""
    few = min(counts["n_a"], counts["n_b"])
    return {
        **drawn_columns(names[0], one, counts["n_a"]),
        **drawn_columns(names[1], other, counts["n_b"]),
        **drawn_columns("difference", other - one, few),
    }


def _numbers() -> Iterator[_Number]:
    """What is compared, in the order of the table."""
    for name, column in (("release", "release_layer"), ("crossing", "cross_layer")):
        yield _Number(f"{name} depth", "resid_pre", "depth", lambda one, column=column: _onset(one, column))
    yield _Number("jump depth", "P(answer)", "depth", lambda one: _readout(one, "jump_layer"))
    yield _Number("half depth", "P(answer)", "depth", lambda one: _readout(one, "half_layer"))
    for phase in PHASES:
        where = (phase.component, phase.place)
        yield _Number("centre", phase.name, "depth", lambda one, where=where: _of_curve(one, where, _depth_centre))
        yield _Number("carried", phase.name, "swing", lambda one, where=where: _of_curve(one, where, carried))
    for where in SPREAD:
        of = " at ".join(where)
        yield _Number("layers that hold 80 %", of, "depth", lambda one, where=where: _of_curve(one, where, _fewest))
        yield _Number("largest layer", of, "share", lambda one, where=where: _of_curve(one, where, largest_part))
    for where in WINDOWED:
        yield _Number("joint / summed", " at ".join(where), "ratio", lambda one, where=where: _redundancy(one, where))


def _onset(one: _Weighed, column: str) -> Array | None:
    """Mean depth over facts, noising, at the whole entity; what does not happen before the last layer counts as 1."""
    own = one.run.release
    own = own[(own["direction"] == DIRECTION) & (own["place"] == ENTITY)].set_index(FACT)[column]
    if own.empty:
        return None
    depth = (own / one.run.n_layers).where(own != NEVER, 1.0)
    return one.mean(depth.to_frame())[:, 0]


def _readout(one: _Weighed, column: str) -> Array | None:
    """Mean depth over facts behind the layer in which the answer's probability rises."""
    own = one.run.answers.set_index(FACT)[column]
    return None if own.empty else one.mean(((own + 1) / one.run.n_layers).to_frame())[:, 0]


def _of_curve(one: _Weighed, where: tuple[str, str], measure: Callable[[Array], Array]) -> Array | None:
    """A number of a mean curve; of one that carries next to nothing only how much that is."""
    shares = share_matrix(one.run.curves, DIRECTION, *where)
    if shares.empty:
        return None
    means = one.mean(shares)
    return measure(means) if measure is carried or carried(means)[0] >= ABSENT else None


def _depth_centre(means: Array) -> Array:
    return (centre(means) + 0.5) / means.shape[1]


def _fewest(means: Array) -> Array:
    return fewest_layers(means) / means.shape[1]


def _redundancy(one: _Weighed, where: tuple[str, str]) -> Array | None:
    """Of all layers at once, joint mean share / summed mean share; None where next to nothing is summed."""
    own = one.run.windows
    own = own[(own["direction"] == DIRECTION) & (own["component"] == where[0]) & (own["place"] == where[1])]
    shares = window_shares(own)
    shares = shares[(shares[WINDOW] == [0, one.run.n_layers - 1]).all(axis=1)]
    if shares.empty:
        return None
    means = one.mean(shares.rename(columns={"group": "category"}).set_index(FACT)[["joint", "summed"]])
    return means[:, 0] / means[:, 1] if abs(means[0, 1]) >= ABSENT else None


def _curve_rows(both: tuple[_Weighed, _Weighed], counts: dict[str, int]) -> Iterator[dict[str, Any]]:
    """The stream at the entity and at the final position in both directions, at every depth of ``GRID``."""
    for direction in both[0].run.curves["direction"].unique():
        for place in (ENTITY, FINAL):
            means = [one.mean(at_depths(one.run.curves, direction, place)) for one in both]
            for nth, depth in enumerate(GRID):
                own = {"direction": direction, "component": "resid_pre", "place": place, "depth": depth}
                numbers = _beside(means[0][:, nth], means[1][:, nth], ("share_a", "share_b"), counts)
                yield {**own, **numbers}


def at_depths(curves: pd.DataFrame, direction: str, place: str) -> pd.DataFrame:
    """Each fact's share that the stream carries, facts by ``GRID``: before each layer, and behind the last."""
    before = share_matrix(curves, direction, "resid_pre", place)
    behind = share_matrix(curves, direction, "resid_post", place).iloc[:, -1]
    whole = before.assign(behind=behind)
    known = np.linspace(0, 1, whole.shape[1])
    read = [np.interp(GRID, known, fact) for fact in whole.to_numpy()]
    return pd.DataFrame(read, index=whole.index, columns=GRID)
