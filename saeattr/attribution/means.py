"""Means over all pairs of a group that is too large to be held: one forward of the clean prompts more.

They are sums over shards, added in order, so that each shard's can be made anywhere and stored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from saeattr.behaviours.pair import Pair, chunks, pad_pairs
from saeattr.model.capture import capture
from saeattr.runs.base import SiteMeans, token_chunks
from saeattr.runs.batch import usable_tokens
from saeattr.runs.task import Task
from saeattr.saes.loading import stream_saes
from saeattr.sites import Site


@dataclass(frozen=True)
class ShardSums:
    """What some pairs add to the means of their group, in float64 on the CPU.

    Attributes:
        n_tokens: real tokens but BOS of the clean prompts.
        x, f: by site, activations and features summed over these; ``f`` is empty where no base needs it.
    """

    n_tokens: int
    x: Mapping[Site, Tensor]
    f: Mapping[Site, Tensor]


def group_means(task: Task, shard: int) -> dict[Site, SiteMeans]:
    """``site_means`` of every site over all pairs of a task, ``shard`` of them held at a time.

    The features' means are 0 but with the mean base, which alone needs them: without it no SAE is opened.
    """
    sums = []
    for done, part in enumerate(chunks(task.pairs, shard)):
        task.on_step("means over all pairs", done * shard, len(task.pairs))
        sums.append(shard_sums(dataclasses.replace(task, pairs=part)))
    task.on_step("means over all pairs", len(task.pairs), len(task.pairs))
    return means_of(task, sums)


@torch.no_grad()
def shard_sums(task: Task) -> ShardSums:
    """What the task's pairs add."""
    sites = [file.site for file in task.saes]
    held = _clean_x(task, sites)
    # Summed on the CPU: MPS has no float64.
    x_sum = {site: x.cpu().double().sum(0) for site, x in held.items()}
    f_sum: dict[Site, Tensor] = {}
    for sae in stream_saes(task.saes, task.lm.device) if task.question.base == "mean" else ():
        x = held[sae.site]
        parts = [sae.encode(x[chunk]).cpu().double().sum(0) for chunk in token_chunks(sae, len(x))]
        f_sum[sae.site] = torch.stack(parts).sum(0)
    return ShardSums(len(held[sites[0]]), x_sum, f_sum)


def means_of(task: Task, sums: Iterable[ShardSums]) -> dict[Site, SiteMeans]:
    """The means of a group from its shards' sums, in order, on the model's device."""
    sums, device = list(sums), task.lm.device
    n_tokens = sum(one.n_tokens for one in sums)
    found = {}
    for file in task.saes:
        # One after the other: the same bits, whoever made them.
        x, f = torch.zeros(file.d_in, dtype=torch.float64), torch.zeros(file.d_sae, dtype=torch.float64)
        for one in sums:
            x = x + one.x[file.site]
            f = f + one.f.get(file.site, 0.0)
        found[file.site] = SiteMeans((f / n_tokens).float().to(device), (x / n_tokens).float().to(device))
    return found


def _clean_x(task: Task, sites: Sequence[Site]) -> dict[Site, Tensor]:
    """x at every real token but BOS of a few pairs, [tokens, d_in] each."""
    held: dict[Site, list[Tensor]] = {site: [] for site in sites}
    part: list[Pair]
    for part in chunks(task.pairs, task.pace.batch_size):
        clean = pad_pairs(part, task.lm.pad_id, task.lm.device).clean
        usable = usable_tokens(clean, part)
        run = capture(task.lm, clean, sites)
        for site in sites:
            held[site].append(run.x[site][usable])
    return {site: torch.cat(parts) for site, parts in held.items()}
