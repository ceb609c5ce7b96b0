"""The last layers and the right answer: what each write does to it, which parts suppress it, what scaling these does.

arXiv 2403.19521 says that the last layers lower the right answer's probability whatever is asked. The last third of the
layers is looked at, rounded up; everything happens at the final position.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.errors import UserError
from saeattr.model.direct import direct_gradients, held_scales
from saeattr.patching.components import ATTN_OUT, COMPONENTS, RESID_PRE, Part, Z, lacking
from saeattr.recall.crossed import crossed
from saeattr.recall.final_runs import Edit, edited_hidden, final_batches, final_position
from saeattr.recall.movers.heads import of_pairs
from saeattr.recall.suppression.confidence import answer_log_odds, read_confidence
from saeattr.runs.batch import BatchRuns
from saeattr.runs.lens import as_final
from saeattr.runs.task import Task
from saeattr.stats import mean_interval
from saeattr.tables import RECALL_PARTS, RECALL_SCALED, RECALL_WRITES

MLP_OUT = COMPONENTS["mlp_out"]
RESID_POST = COMPONENTS["resid_post"]
#: By which the suppressors are multiplied.
FACTORS = (0.0, 0.5, 1.0, 1.5, 2.0)
#: In place of a head: the layer's MLP.
OF_MLP = -1
#: A layer, and a head of it or ``OF_MLP``.
Suppressor = tuple[int, int]


def last_layers(n_layers: int) -> range:
    """The last third, rounded up."""
    return range(n_layers - -(-n_layers // 3), n_layers)


def measure_suppression(task: Task) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, list[str]]:
    """Writes through the lens, direct effects of parts, and the facts with the suppressors scaled.

    Returns:
        ``tables.RECALL_WRITES``, ``tables.RECALL_PARTS``, ``tables.RECALL_SCALED``; what a reader should know.

    Raises:
        UserError: the model has no z or MLP output that could be read.
    """
    for component in (Z, ATTN_OUT, MLP_OUT):
        if lacking(component, task.lm):
            raise UserError(f"{lacking(component, task.lm)}: what suppresses an answer cannot be told")
    split = crossed(task.pairs)
    halves = [own for own, _ in split] or [list(task.pairs)]
    runs = [final_batches(dataclasses.replace(task, pairs=own), _captured(task)) for own in halves]
    batches = [batch for half in runs for batch in half]
    writes = pd.concat([_writes(batch) for batch in batches], ignore_index=True)
    parts = pd.concat([_parts(batch) for batch in batches], ignore_index=True)
    scaled, told = [], []
    for half, (choosing, _) in enumerate(split):
        task.on_step("suppressors", half, len(split))
        sets = sets_to_scale(of_pairs(parts, choosing))
        if not sets["all"]:
            told.append(
                f"no part of the last layers lowers the answer's log odds in the mean over the {len(choosing)} facts "
                f"of half {half + 1}"
            )
        for name, chosen in sets.items():
            of_set = [_scaled(task, batch, chosen) for batch in runs[1 - half] if chosen]
            scaled += [table.assign(half=2 - half, chosen=name) for table in of_set]
        task.on_step("suppressors", half + 1, len(split))
    found = RECALL_SCALED.frame(pd.concat(scaled, ignore_index=True) if scaled else pd.DataFrame())
    return RECALL_WRITES.frame(writes), RECALL_PARTS.frame(parts), found, told


def _captured(task: Task) -> list[Part]:
    layers, n_layers = last_layers(task.lm.n_layers), task.lm.n_layers
    needed = [Part(component, layer) for layer in layers for component in (RESID_PRE, ATTN_OUT, MLP_OUT, RESID_POST)]
    return [*(Part(Z, layer) for layer in range(n_layers)), *needed]


def _answers(batch: BatchRuns) -> Int[Tensor, " batch"]:
    return torch.tensor([pair.points[-1].wanted[0] for pair in batch.pairs], device=batch.lm.device)


def _addresses(batch: BatchRuns) -> dict[str, list[str]]:
    return {
        "group": [pair.group for pair in batch.pairs],
        "pair_id": [pair.pair_id for pair in batch.pairs],
    }


def _writes(batch: BatchRuns) -> pd.DataFrame:
    """P(answer) through the lens before the last third of the layers, and after each of its writes."""
    x, last, layers = batch.clean.x, final_position(batch), last_layers(batch.lm.n_layers)
    streams = [(layers[0], "before", x[Part(RESID_PRE, layers[0])])]
    for layer in layers:
        streams.append((layer, "attn", x[Part(RESID_PRE, layer)] + x[Part(ATTN_OUT, layer)]))
        streams.append((layer, "mlp", x[Part(RESID_POST, layer)]))
    tables = []
    for step, (layer, write, stream) in enumerate(streams):
        read = read_confidence(batch.lm, as_final(batch.lm, stream[:, last]), _answers(batch))
        own = {name: read[name] for name in ("p_answer", "log_odds", "rank")}
        tables.append(pd.DataFrame({**_addresses(batch), "layer": layer, "write": write, "step": step, **own}))
    return pd.concat(tables, ignore_index=True)


def _parts(batch: BatchRuns) -> pd.DataFrame:
    """What each head and MLP of the last third writes straight to the answer's log odds and to the metric."""
    answers, last = _answers(batch), final_position(batch)

    def odds(hidden: Tensor) -> Tensor:
        return answer_log_odds(batch.lm, hidden[:, last], answers)

    effects = {"direct_log_odds": _direct(batch, odds), "direct_metric": _direct(batch, batch.read)}
    tables = []
    for layer in last_layers(batch.lm.n_layers):
        for head in (*range(Z.n_heads(batch.lm)), OF_MLP):
            own = {name: found[layer, head].cpu().double().numpy() for name, found in effects.items()}
            kind = "mlp" if head == OF_MLP else "head"
            about = {**_addresses(batch), "layer": layer, "component": kind, "head": head}
            tables.append(pd.DataFrame({**about, **own}))
    return pd.concat(tables, ignore_index=True)


def _direct(batch: BatchRuns, read: Callable[[Tensor], Tensor]) -> dict[Suppressor, Float[Tensor, " batch"]]:
    """Each part's write at the final position times the slope of what is read, along the direct path."""
    lm, x, last, n_heads = batch.lm, batch.clean.x, final_position(batch), Z.n_heads(batch.lm)
    stream = x[Part(RESID_POST, lm.n_layers - 1)]
    z = [x[Part(Z, layer)] for layer in range(lm.n_layers)]
    slopes = direct_gradients(lm, z, stream, read)
    leaf = stream.detach().clone().requires_grad_()
    with torch.enable_grad(), held_scales(lm):
        (slope,) = torch.autograd.grad(read(lm.final_norm(leaf)).sum(), [leaf])
    found = {}
    for layer in last_layers(lm.n_layers):
        heads = (z[layer][:, last] * slopes[layer][:, last]).float().unflatten(1, (n_heads, -1)).sum(2)
        found |= {(layer, head): heads[:, head] for head in range(n_heads)}
        found[layer, OF_MLP] = (x[Part(MLP_OUT, layer)][:, last].float() * slope[:, last].float()).sum(1)
    return found


def sets_to_scale(parts: pd.DataFrame) -> dict[str, list[Suppressor]]:
    """What is scaled in the other facts: ``first``, ``all`` and ``third``.

    A suppressor's mean direct effect on the answer's log odds has its whole interval below 0: ``all`` of them, or none.
    ``first`` is the part with the lowest mean whatever its sign, ``third`` all that is looked at.

    Args:
        parts: ``tables.RECALL_PARTS`` of the facts that choose.
    """
    found = summarise_parts(parts).sort_values("direct_log_odds", kind="stable")

    def named(rows: pd.DataFrame) -> list[Suppressor]:
        return [(int(row["layer"]), int(row["head"])) for row in rows.to_dict("records")]

    return {"first": named(found[:1]), "all": named(found[found["direct_high"] < 0]), "third": named(found)}


def summarise_parts(parts: pd.DataFrame) -> pd.DataFrame:
    """Means over facts by part: ``tables.RECALL_SUPPRESSORS`` without which were chosen."""
    rows = []
    for (layer, component, head), own in parts.groupby(["layer", "component", "head"]):
        odds = own["direct_log_odds"].to_numpy()
        low, high = mean_interval(odds[None])
        means = {"direct_log_odds": odds.mean(), "direct_low": low[0], "direct_high": high[0]}
        about = {"layer": layer, "component": component, "head": head, "n_facts": len(own)}
        rows.append({**about, **means, "direct_metric": own["direct_metric"].mean(), "negative": (odds < 0).mean()})
    return pd.DataFrame(rows)


def part_names(chosen: Sequence[Suppressor]) -> str:
    """``4.1 5.mlp``."""
    return " ".join(f"{layer}.{'mlp' if head == OF_MLP else head}" for layer, head in chosen)


def _scaled(task: Task, batch: BatchRuns, chosen: Sequence[Suppressor]) -> pd.DataFrame:
    """A batch with all suppressors multiplied by each factor."""
    n, tables = len(batch.pairs), []
    rows = torch.arange(n, device=batch.lm.device)
    for factor in FACTORS:
        hidden = edited_hidden(batch, rows, scaling(batch, chosen, factor), task.pace.copies)
        own = read_confidence(batch.lm, hidden, _answers(batch))
        tables.append(pd.DataFrame({**_addresses(batch), "factor": factor, **own}))
    return pd.concat(tables, ignore_index=True).assign(parts=part_names(chosen))


def scaling(batch: BatchRuns, chosen: Sequence[Suppressor], factor: float) -> list[Edit]:
    """The edits that multiply parts by a factor; the heads of a layer are scaled together."""
    edits, device, n_heads = [], batch.lm.device, Z.n_heads(batch.lm)
    nothing = torch.zeros(1, 1, device=device)
    for layer in sorted({layer for layer, _ in chosen}):
        heads = [head for at, head in chosen if at == layer and head != OF_MLP]
        if heads:
            scale = torch.ones(n_heads, batch.clean.x[Part(Z, layer)].shape[2] // n_heads, device=device)
            scale[heads] = factor
            edits.append(Edit(Part(Z, layer), scale.flatten()[None], nothing))
        if (layer, OF_MLP) in chosen:
            edits.append(Edit(Part(MLP_OUT, layer), nothing + factor, nothing))
    return edits


def suppressed_gaps(writes: pd.DataFrame, column: str, since: str) -> np.ndarray:
    """By fact, a lens reading at the end minus that before the last third, or before the last layer.

    Args:
        writes: ``tables.RECALL_WRITES``.
        since: ``third`` or ``layer``.
    """
    wide = writes.pivot_table(index=["group", "pair_id"], columns="step", values=column)
    end = wide.columns.max()
    return (wide[end] - wide[0 if since == "third" else end - 2]).to_numpy()
