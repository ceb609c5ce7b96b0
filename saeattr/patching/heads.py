"""Which heads carry what differs between two prompts to where the metric is read, and what it does there.

Three questions of each head, where the metric is read: does it attend to the tokens that differ, in either run; what
does it write of them (OV, straight through the unembedding: Elhage et al. 2021, Wang et al. 2022), in the corrupted run
against the clean one; and what does the metric become when its output there is that of the corrupted run. The first two
show a path, the third its effect with all that later layers do.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saeattr.errors import UserError
from saeattr.model.capture import Run
from saeattr.model.direct import direct_gradients
from saeattr.model.loading import LanguageModel
from saeattr.patching.activations import parts_to_run
from saeattr.patching.components import COMPONENTS, PATTERN, Component, Part, V, Z, lacking
from saeattr.patching.effects import make_patches
from saeattr.patching.places import Place
from saeattr.runs.batch import BatchRuns
from saeattr.runs.patches import patch_effects
from saeattr.runs.task import Task, run_pairs
from saeattr.stats import ratio_interval
from saeattr.tables import HEAD_MOVES

RESID_POST: Component = COMPONENTS["resid_post"]


def head_moves(task: Task) -> pd.DataFrame:
    """Every head of every layer, in every pair whose prompts are aligned one to one (others have no rows).

    Args:
        task: its pairs are of one group and have corrupted prompts.

    Returns:
        ``tables.HEAD_MOVES``: effects are changes of the clean run's metric towards the corrupted run.

    Raises:
        UserError: the model has no attention patterns, values or z that could be read.
    """
    tables = []
    for batch in run_pairs(task, parts_of_heads(task.lm)):
        if batch.has_partner is None:
            tables.append(batch_moves(task, batch))
    return HEAD_MOVES.frame(pd.concat(tables, ignore_index=True)) if tables else HEAD_MOVES.empty()


def parts_of_heads(lm: LanguageModel) -> list[Part]:
    """What runs must be captured at for ``batch_moves``.

    Raises:
        UserError: the model has no attention patterns, values or z that could be read.
    """
    for component in (PATTERN, V, Z):
        if lacking(component, lm):
            raise UserError(f"{lacking(component, lm)}: which heads move a word cannot be told (--no-heads)")
    return [*parts_to_run([PATTERN, V, Z], lm.n_layers), Part(RESID_POST, lm.n_layers - 1)]


def batch_moves(task: Task, batch: BatchRuns) -> pd.DataFrame:
    """``tables.HEAD_MOVES`` of a batch that is aligned one to one and was captured at ``parts_of_heads``."""
    lm = task.lm
    z = [batch.clean.x[Part(Z, layer)] for layer in range(lm.n_layers)]
    slopes = direct_gradients(lm, z, batch.clean.x[Part(RESID_POST, lm.n_layers - 1)], batch.read)
    tables = []
    for layer, slope in enumerate(slopes):
        task.on_step("heads", layer, lm.n_layers)
        tables.append(_in_layer(batch, layer, slope, task.pace.copies))
    task.on_step("heads", lm.n_layers, lm.n_layers)
    return HEAD_MOVES.frame(pd.concat(tables, ignore_index=True))


@torch.no_grad()
def _in_layer(batch: BatchRuns, layer: int, slope: Float[Tensor, "batch pos width"], copies: int) -> pd.DataFrame:
    """The heads of one layer.

    Args:
        slope: d metric / d z along the direct path.
    """
    assert batch.corrupted is not None
    runs = (batch.clean, batch.corrupted)
    n_heads, n_kv = Z.n_heads(batch.lm), V.n_heads(batch.lm)
    kv_head = torch.arange(n_heads, device=slope.device) // (n_heads // n_kv)
    changed, weights = changed_tokens(batch).float(), decision_weights(batch)
    patterns = [_heads(run, PATTERN, layer, n_heads) * changed[:, None, None, :] for run in runs]
    values = [_heads(run, V, layer, n_kv)[:, :, kv_head] for run in runs]
    from_changed = [torch.einsum("bqhk,bkhd->bqhd", *both) for both in zip(patterns, values, strict=True)]
    seen = [torch.einsum("bq,bqhk->bh", weights, pattern) for pattern in patterns]
    z = [_heads(run, Z, layer, n_heads) for run in runs]
    of_head = slope.float().unflatten(2, (n_heads, -1)) * (weights > 0)[:, :, None, None]
    exact = _exact(batch, layer, weights > 0, n_heads, copies)
    columns = {
        "attention_clean": seen[0],
        "attention_corrupted": seen[1],
        "ov_effect": ((from_changed[1] - from_changed[0]) * of_head).sum((1, 3)),
        "direct_effect": ((z[1] - z[0]) * of_head).sum((1, 3)),
        "exact_effect": exact,
        **{name: _of_heads(run, n_heads) for name, run in zip(("clean", "corrupted"), runs, strict=True)},
    }
    return pd.DataFrame(
        {
            "group": np.repeat([pair.group for pair in batch.pairs], n_heads),
            "pair_id": np.repeat([pair.pair_id for pair in batch.pairs], n_heads),
            "layer": layer,
            "head": np.tile(np.arange(n_heads), len(batch.pairs)),
            "kv_head": np.tile(kv_head.cpu().numpy(), len(batch.pairs)),
            **{name: values.flatten().cpu().double().numpy() for name, values in columns.items()},
        }
    )


def changed_tokens(batch: BatchRuns) -> Bool[Tensor, "batch pos"]:
    """The tokens that differ between the prompts."""
    mask = torch.zeros_like(batch.usable)
    for row, pair in enumerate(batch.pairs):
        mask[row, list(pair.changed_positions)] = True
    return mask


def decision_weights(batch: BatchRuns) -> Float[Tensor, "batch pos"]:
    """Where the metric is read, and how much of it; each row sums to 1."""
    reads = batch.reads
    weights = torch.zeros(batch.usable.shape, device=batch.usable.device)
    places = (reads.row.to(weights.device), reads.position.to(weights.device))
    weights.index_put_(places, reads.weight.to(weights.device), accumulate=True)
    return weights / weights.sum(1, keepdim=True)


def _heads(run: Run, component: Component, layer: int, n_heads: int) -> Float[Tensor, "batch pos heads width"]:
    """What a run has at a component, head by head."""
    return run.x[Part(component, layer)].float().unflatten(2, (n_heads, -1))


def _of_heads(run: Run, n_heads: int) -> Float[Tensor, "batch heads"]:
    """The metric of a run, beside each head."""
    assert run.metric is not None
    return run.metric[:, None].expand(-1, n_heads)


def _exact(
    batch: BatchRuns, layer: int, decisions: Bool[Tensor, "batch pos"], n_heads: int, copies: int
) -> Float[Tensor, "batch heads"]:
    """The effect of each head's corrupted z at the decision, all later layers run again."""
    places = [Place(row, "decision", mask) for row, mask in enumerate(decisions)]
    patches = make_patches(places, n_heads, by_head=True)
    return patch_effects(batch, Part(Z, layer), patches, copies).view(len(places), n_heads)


def head_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over pairs, head by head, the strongest exact effect first.

    Args:
        table: ``tables.HEAD_MOVES`` of one group.

    Returns:
        layer, head, kv_head, attention_clean, attention_corrupted; ov, direct and exact with their intervals (``_low``,
        ``_high``), as shares of the gap: mean effect / mean(corrupted - clean); n_pairs.
    """
    rows = []
    for (layer, head, kv_head), own in table.groupby(["layer", "head", "kv_head"]):
        gap = (own["corrupted"] - own["clean"]).to_numpy()
        row = {"layer": layer, "head": head, "kv_head": kv_head}
        row |= {name: own[name].mean() for name in ("attention_clean", "attention_corrupted")}
        for name in ("ov", "direct", "exact"):
            ends = ratio_interval(own[f"{name}_effect"].to_numpy(), gap)
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
        rows.append({**row, "n_pairs": len(own)})
    found = pd.DataFrame(rows)
    if found.empty:
        return found
    return found.sort_values("exact", key=lambda column: -column.abs(), kind="stable").reset_index(drop=True)
