"""Heads chosen on one half of the facts, removed on the other at the final position, beside controls.

Removed is replaced: by the mean of z over the choosing facts, or by the corrupted run's z. The controls displace what
attention adds to the stream in the same layers equally far: in random directions, or in those in which removing other
heads displaces it; or they remove as many other heads of the same third of the layers, however large they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from saeattr.model.direct import attention_writes
from saeattr.patching.components import ATTN_OUT, Part, Z
from saeattr.recall.crossed import crossed
from saeattr.recall.final_runs import Edit, edited_changes, final_batches, final_position
from saeattr.recall.movers.controls import CONTROLS, other_sets, random_directions
from saeattr.recall.movers.heads import Head, choose_movers, of_pairs, summarise_heads
from saeattr.runs.batch import BatchRuns
from saeattr.runs.task import Task
from saeattr.tables import RECALL_REMOVAL

#: By what a head's z is replaced.
REMOVALS = ("mean", "corrupted")
#: Sets of heads that are removed in one go.
TOGETHER = 50
#: The name of each draw, and by layer the displacements of every draw in every fact, [draws, batch, d_model].
Displacements = tuple[list[str], dict[int, Tensor]]


@dataclass(frozen=True)
class Removal:
    """A batch of testing facts, and what every head's z becomes if it is removed.

    Attributes:
        new: by layer.
    """

    batch: BatchRuns
    name: str
    new: list[Float[Tensor, "batch width"]]

    @property
    def n_heads(self) -> int:
        return Z.n_heads(self.batch.lm)

    def own(self, layer: int) -> Float[Tensor, "batch width"]:
        """z of the clean run."""
        return self.batch.clean.x[Part(Z, layer)][:, final_position(self.batch)].float()

    def mask(self, layer: int, heads: Sequence[Head]) -> Float[Tensor, " width"]:
        """1 where a layer's z belongs to some heads."""
        width = self.new[layer].shape[1] // self.n_heads
        mask = torch.zeros(self.n_heads, width, device=self.new[layer].device)
        mask[[head for at, head in heads if at == layer]] = 1
        return mask.flatten()

    @torch.no_grad()
    def moved(self, layer: int, heads: Sequence[Head]) -> Float[Tensor, "batch d_model"]:
        """How removing heads of one layer moves what its attention adds to the residual stream."""
        own, block = self.own(layer), self.batch.lm.layers[layer]
        edited = own + self.mask(layer, heads) * (self.new[layer] - own)
        both = torch.stack([own, edited], dim=1).to(self.batch.lm.dtype)
        written = attention_writes(block, both).float()
        return written[:, 1] - written[:, 0]


def remove_movers(task: Task, heads: pd.DataFrame, attention: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Both halves of the facts choose movers, and test those of the other.

    Args:
        heads, attention: ``tables.RECALL_HEADS`` and ``tables.RECALL_ATTENTION`` of the task's facts.

    Returns:
        ``tables.RECALL_REMOVAL``, and what a reader should know, one line each.
    """
    tables, told = [], []
    split = crossed(task.pairs)
    runs = [final_batches(dataclasses.replace(task, pairs=own), _parts(task)) for own, _ in split]
    for half, (choosing, _) in enumerate(split):
        movers = choose_movers(summarise_heads(of_pairs(heads, choosing), of_pairs(attention, choosing)))
        if not movers:
            told.append(f"no head moves the entity of {len(choosing)} facts, so none is removed in the others")
            continue
        means = [_mean_z(runs[half], layer) for layer in range(task.lm.n_layers)]
        for name, chosen in {"first": movers[:1], "all": movers}.items():
            task.on_step(f"movers, {name}", half, len(split))
            of_set = [_removed(task, batch, means, chosen, movers) for batch in runs[1 - half]]
            tables += [table.assign(chosen=name, half=2 - half) for table in of_set]
            task.on_step(f"movers, {name}", half + 1, len(split))
    if not split:
        told.append("movers are chosen on one half of the facts and tested on the other: give two facts at least")
    return RECALL_REMOVAL.frame(pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()), told


def _parts(task: Task) -> list[Part]:
    return [Part(Z, layer) for layer in range(task.lm.n_layers)]


def _mean_z(batches: Sequence[BatchRuns], layer: int) -> Float[Tensor, " width"]:
    """Over facts, at their final position, in the clean run."""
    part = Part(Z, layer)
    return torch.cat([batch.clean.x[part][:, final_position(batch)].float() for batch in batches]).mean(0)


def _removed(
    task: Task, batch: BatchRuns, means: Sequence[Tensor], chosen: Sequence[Head], movers: Sequence[Head]
) -> pd.DataFrame:
    """The chosen heads removed in one batch in both ways, and every control of it."""
    assert batch.corrupted is not None
    last, seed, copies = final_position(batch), task.pace.seed, task.pace.copies
    shape = (task.lm.n_layers, Z.n_heads(task.lm))
    sets = other_sets(chosen, movers, shape, seed)
    replaced = {
        "mean": [mean.expand(len(batch.pairs), -1) for mean in means],
        "corrupted": [batch.corrupted.x[Part(Z, layer)][:, last].float() for layer in range(shape[0])],
    }
    tables = []
    for name in REMOVALS:
        removal = Removal(batch, name, replaced[name])
        layers = sorted({layer for layer, _ in chosen})
        sizes = {layer: removal.moved(layer, chosen).norm(dim=1) for layer in layers}
        whole = torch.stack(list(sizes.values())).square().sum(0).sqrt()
        alone = _remove(removal, [tuple(chosen)], copies)
        tables.append(_rows(removal, ("", [""]), alone, whole[None]))
        for control, (names, moves) in {
            "random": _random(removal, sizes, seed),
            "directions": _along_others(removal, sizes, movers, seed),
        }.items():
            change = _displace(removal, moves, copies)
            tables.append(_rows(removal, (control, names), change, whole.expand(len(change), -1)))
        if sets:
            large = torch.stack([_size(removal, some) for some in sets])
            names = [head_names(some) for some in sets]
            tables.append(_rows(removal, ("heads", names), _remove(removal, sets, copies), large))
    return pd.concat(tables, ignore_index=True).assign(movers=head_names(chosen))


def head_names(heads: Sequence[Head]) -> str:
    """``0.1 2.3``: layer and head of each."""
    return " ".join(f"{layer}.{head}" for layer, head in heads)


def _size(removal: Removal, heads: Sequence[Head]) -> Float[Tensor, " batch"]:
    layers = {layer for layer, _ in heads}
    return torch.stack([removal.moved(layer, heads) for layer in layers]).square().sum((0, 2)).sqrt()


def _remove(removal: Removal, sets: Sequence[tuple[Head, ...]], copies: int) -> Float[Tensor, "sets batch"]:
    """The metric's change for each set of heads, all layers above run again."""
    found = []
    for start in range(0, len(sets), TOGETHER):
        some = sets[start : start + TOGETHER]
        edits = []
        for layer in sorted({layer for heads in some for layer, _ in heads}):
            masks = torch.stack([removal.mask(layer, heads) for heads in some])[:, None]
            n = len(removal.batch.pairs)
            shift = (masks * removal.new[layer]).flatten(0, 1)
            edits.append(Edit(Part(Z, layer), 1 - masks.expand(-1, n, -1).flatten(0, 1), shift))
        found.append(_changes(removal.batch, edits, len(some), copies))
    return torch.cat(found)


def _random(removal: Removal, sizes: Mapping[int, Tensor], seed: int) -> Displacements:
    """In random directions, the same ones in every fact."""
    units = random_directions(len(sizes), removal.moved(min(sizes), []).shape[1], seed)
    moves = {
        layer: units[:, at, None].to(size.device) * size[:, None] for at, (layer, size) in enumerate(sizes.items())
    }
    return [str(draw) for draw in range(CONTROLS)], moves


def _along_others(removal: Removal, sizes: Mapping[int, Tensor], movers: Sequence[Head], seed: int) -> Displacements:
    """As removing one other head displaces the stream, whatever layer it is of; in each layer another head."""
    every = [(layer, head) for layer in range(removal.batch.lm.n_layers) for head in range(removal.n_heads)]
    others = [head for head in every if head not in movers]
    units = torch.stack([normalize(removal.moved(head[0], [head]), dim=1) for head in others])
    rng = np.random.default_rng(seed)
    orders = [np.arange(len(others)), *(rng.permutation(len(others)) for _ in range(len(sizes) - 1))]
    names = [head_names([others[at] for at in drawn]) for drawn in zip(*orders, strict=True)]
    both = zip(sizes.items(), orders, strict=True)
    return names, {layer: units[order.tolist()] * size[:, None] for (layer, size), order in both}


def _displace(removal: Removal, moves: Mapping[int, Tensor], copies: int) -> Float[Tensor, "draws batch"]:
    """The metric's change where what attention adds is displaced."""
    edits = []
    for layer, move in moves.items():
        shift = move.flatten(0, 1)
        edits.append(Edit(Part(ATTN_OUT, layer), torch.ones(1, 1, device=shift.device), shift))
    return _changes(removal.batch, edits, len(next(iter(moves.values()))), copies)


def _changes(batch: BatchRuns, edits: Sequence[Edit], draws: int, copies: int) -> Float[Tensor, "draws batch"]:
    n = len(batch.pairs)
    rows = torch.arange(n, device=batch.lm.device).repeat(draws)
    return edited_changes(batch, rows, edits, copies).view(draws, n)


def _rows(removal: Removal, control: tuple[str, Sequence[str]], change: Tensor, size: Tensor) -> pd.DataFrame:
    """One row a control and fact.

    Args:
        control: its kind, and the name of each draw.
        change, size: [draws, batch].
    """
    batch, (kind, names), draws = removal.batch, control, len(change)
    assert batch.clean.metric is not None
    assert batch.corrupted is not None
    assert batch.corrupted.metric is not None
    return pd.DataFrame(
        {
            "group": [pair.group for pair in batch.pairs] * draws,
            "pair_id": [pair.pair_id for pair in batch.pairs] * draws,
            "removal": removal.name,
            "control": kind,
            "draw": np.repeat(list(names), len(batch.pairs)),
            "size": size.flatten().cpu().double().numpy(),
            "change": change.flatten().cpu().double().numpy(),
            "clean": np.tile(batch.clean.metric.cpu().double().numpy(), draws),
            "corrupted": np.tile(batch.corrupted.metric.cpu().double().numpy(), draws),
        }
    )
