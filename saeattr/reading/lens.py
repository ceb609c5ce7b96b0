"""The logit lens over layers, position by position: from which layer on does the residual stream say what comes next?

After every layer the residual stream at the last token of a span goes through the final norm and the unembedding rows
of two sides of tokens (``saeattr.runs.lens``): logit(one side) - logit(the other), soft-cap applied. Layer -1 is what
enters the first layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.behaviours.pair import DECISION, Pair, Point, chunks, pad_pairs
from saeattr.model.loading import LanguageModel
from saeattr.model.prompts import Prompts
from saeattr.reading.spans import Place, places
from saeattr.runs.lens import EMBEDDING, as_final, residuals_at
from saeattr.runs.metric import LOGIT_DIFFERENCE, Metric, Reads, plan_reads
from saeattr.runs.task import Task
from saeattr.sites import Site
from saeattr.tables import LOGIT_LENS

#: What enters the first layer counts as the layer before it.
BEFORE = -1


@dataclass(frozen=True)
class LensQuestion:
    """What a lens reads, and where.

    Attributes:
        direction: its name in the rows.
        roles: of the spans at whose last token it is read; without any, every one.
        sides: ids of the tokens on either side; None for those of each pair's own decision points, as ``metric`` reads
            them. Away from these, those of the pair's last point.
    """

    direction: str
    roles: tuple[str, ...] = ()
    sides: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    metric: Metric = LOGIT_DIFFERENCE


def lens_rows(task: Task, question: LensQuestion) -> pd.DataFrame:
    """The lens after every layer at the last token of each span: one forward of the clean prompts, one of the others.

    Only the residual stream at these tokens is kept.

    Returns:
        group, pair_id, temperature (NaN), direction, layer, role, number, from_end, clean, corrupted (NaN where a token
        has no partner).
    """
    tables = []
    for done, chunk in enumerate(chunks(task.pairs, task.pace.batch_size)):
        task.on_step("logit lens", done * task.pace.batch_size, len(task.pairs))
        clean = pad_pairs(chunk, task.lm.pad_id, task.lm.device).clean
        where = _wanted(chunk, question)
        values = {"clean": _read(task.lm, clean, chunk, where, question)}
        values["corrupted"] = torch.full_like(values["clean"], torch.nan)
        # Padding is done anew: a batch has corrupted prompts only if all of its pairs do.
        known = [place for place in where if place.corrupted >= 0]
        if known:
            rows = sorted({place.row for place in known})
            paired = [chunk[row] for row in rows]
            at = [dataclasses.replace(place, row=rows.index(place.row)) for place in known]
            corrupted = pad_pairs(paired, task.lm.pad_id, task.lm.device).corrupted
            assert corrupted is not None
            columns = [nth for nth, place in enumerate(where) if place.corrupted >= 0]
            values["corrupted"][:, columns] = _read(task.lm, corrupted, paired, at, question, of_partners=True)
        tables.append(_table(chunk, where, question.direction, values))
    task.on_step("logit lens", len(task.pairs), len(task.pairs))
    return pd.concat(tables, ignore_index=True)


def _wanted(pairs: Sequence[Pair], question: LensQuestion) -> list[Place]:
    """Where the question is read; a pair whose last point lacks a side is read at its decision points alone."""
    found = places(pairs, question.roles)
    if question.sides is not None:
        return found
    return [place for place in found if place.span.role == DECISION or _has_sides(pairs[place.row].points[-1])]


def _has_sides(point: Point) -> bool:
    return bool(point.wanted and point.unwanted)


def _read(
    lm: LanguageModel,
    prompts: Prompts,
    pairs: Sequence[Pair],
    where: Sequence[Place],
    question: LensQuestion,
    *,
    of_partners: bool = False,
) -> Float[Tensor, "layers places"]:
    """The contrast at each place, before the first layer and after every one, float32 on the CPU."""
    layers = [Site("resid_post", layer).hook_name for layer in range(lm.n_layers)]
    if not where:
        return torch.zeros(len(layers) + 1, 0)
    reads = _reads(pairs, where, question)
    at = [place.corrupted if of_partners else place.span.last for place in where]
    kept = residuals_at(lm, prompts, reads.row, torch.tensor(at), [EMBEDDING, *layers])
    values = [question.metric.values(lm, as_final(lm, kept[name]), reads) for name in (EMBEDDING, *layers)]
    return torch.stack([one.detach().cpu() for one in values])


def _reads(pairs: Sequence[Pair], where: Sequence[Place], question: LensQuestion) -> Reads:
    """The places as points at which a metric is read, each with its two sides of tokens."""
    points: dict[int, list[Point]] = {}
    for place in where:
        pair, span = pairs[place.row], place.span
        own = pair.points[span.number - 1] if span.role == DECISION else pair.points[-1]
        wanted, unwanted = question.sides or (own.wanted, own.unwanted)
        points.setdefault(place.row, []).append(Point(span.last, wanted, unwanted))
    rows = list(points)
    # Without the corrupted prompt, in which some of these tokens may have no partner.
    alone = {"corrupted_ids": None, "partners": None}
    planned = plan_reads([dataclasses.replace(pairs[row], points=tuple(points[row]), **alone) for row in rows], "all")
    return dataclasses.replace(planned, row=torch.tensor(rows)[planned.row])


def _table(
    pairs: Sequence[Pair], where: Sequence[Place], direction: str, values: dict[str, Float[Tensor, "layers places"]]
) -> pd.DataFrame:
    """``tables.LOGIT_LENS`` of one batch, layer by layer."""
    spans = [place.span for place in where]
    n_layers = len(values["clean"])
    repeated = {
        "group": [pairs[place.row].group for place in where],
        "pair_id": [pairs[place.row].pair_id for place in where],
        "role": [span.role for span in spans],
        "number": [span.number for span in spans],
        "from_end": [span.from_end for span in spans],
    }
    table = pd.DataFrame({name: column * n_layers for name, column in repeated.items()})
    table["layer"] = np.repeat(np.arange(BEFORE, n_layers + BEFORE), len(where))
    for run, cells in values.items():
        table[run] = cells.double().numpy().reshape(-1)
    return LOGIT_LENS.frame(table.assign(direction=direction, temperature=np.nan))
