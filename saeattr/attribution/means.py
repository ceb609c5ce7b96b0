"""Means over all pairs of a group that is too large to be held: one forward of the clean prompts more."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from saeattr.behaviours.pair import Pair, chunks, pad_pairs
from saeattr.model.capture import capture
from saeattr.runs.base import SiteMeans, token_chunks
from saeattr.runs.batch import usable_tokens
from saeattr.runs.task import Task
from saeattr.saes.loading import stream_saes
from saeattr.sites import Site


@torch.no_grad()
def group_means(task: Task, shard: int) -> dict[Site, SiteMeans]:
    """``site_means`` of every site over all pairs of a task, ``shard`` of them held at a time.

    The features' means are 0 but with the mean base, which alone needs them: without it no SAE is opened.
    """
    sites = [file.site for file in task.saes]
    x_sum: dict[Site, Tensor] = {}
    f_sum: dict[Site, Tensor] = {}
    n_tokens = 0
    for done, part in enumerate(chunks(task.pairs, shard)):
        task.on_step("means over all pairs", done * shard, len(task.pairs))
        held = _clean_x(dataclasses.replace(task, pairs=part), sites)
        n_tokens += len(held[sites[0]])
        for site, x in held.items():
            # Summed on the CPU: MPS has no float64.
            x_sum[site] = x_sum.get(site, torch.zeros(())) + x.cpu().double().sum(0)
        for sae in stream_saes(task.saes, task.lm.device) if task.question.base == "mean" else ():
            x = held[sae.site]
            for chunk in token_chunks(sae, len(x)):
                f = sae.encode(x[chunk]).cpu().double().sum(0)
                f_sum[sae.site] = f_sum.get(sae.site, torch.zeros(())) + f
    task.on_step("means over all pairs", len(task.pairs), len(task.pairs))
    device = task.lm.device
    found = {}
    for file in task.saes:
        f = f_sum.get(file.site, torch.zeros(file.d_sae, dtype=torch.float64)) / n_tokens
        found[file.site] = SiteMeans(f.float().to(device), (x_sum[file.site] / n_tokens).float().to(device))
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
