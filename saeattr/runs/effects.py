"""Exact effects: patch features to their base value, keep the error term, run the layers above again.

x becomes x + (f_i^base - f_i^clean) W_dec[i] at the feature's positions; nothing else changes at the site, so the error
term is kept. Only the layers above run, from the first edited position on: many edited copies of the prompts in one
batch, whichever feature they are of.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.runs.base import Base, SiteMeans
from saeattr.runs.batch import BatchRuns, effect_tokens
from saeattr.saes.sae import take_features
from saeattr.runs.metric import Metric
from saeattr.model.loading import LanguageModel
from saeattr.model.recompute import Span, recompute
from saeattr.saes.sae import SparseAutoencoder



import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.model.capture import ReadMetric, Run
from saeattr.model.loading import LanguageModel
from saeattr.model.recompute import recompute
from saeattr.sites import Site

@dataclass(frozen=True)
class Edits:
    """Edited copies of a batch's prompts at one site; only what changes is stored.

    Attributes:
        row: the row of the batch that each copy is made of.
        copy, position, feature, change: one entry for each changed (copy, position, feature), in the order of copies;
            ``feature`` indexes the SAE, ``change`` is f_base - f_clean.
    """

    row: Int[Tensor, " copies"]
    copy: Int[Tensor, " entries"]
    position: Int[Tensor, " entries"]
    feature: Int[Tensor, " entries"]
    change: Float[Tensor, " entries"]


@torch.no_grad()
def feature_effects(
    lm: LanguageModel,
    batch: BatchRuns,
    sae: SparseAutoencoder,
    features: Int[Tensor, " features"],
    metric: Metric,
    base: Base,
    batch_size: int,
    means: SiteMeans | None = None,
) -> Float[Tensor, "features batch"]:
    """Exact effect of patching each feature at all its positions, pair by pair.

    Its positions are those that ``attribute_site`` has entries for: where it is active in the clean run or, with the
    corrupted base, in either. A list in which nothing changes has the effect 0 and costs nothing.

    Args:
        features: indices into the SAE, no two the same.
        batch_size: copies in one forward; rows of different features share it.
        means: needed for the mean base alone.
    """
    chosen = effect_tokens(batch, base)
    row, position = chosen.nonzero(as_tuple=True)
    change = base_change(batch, sae, features, row, position, base, means)
    nth, token = change.T.nonzero(as_tuple=True)
    # Copies stand in the order of (feature, list).
    keys, copy = torch.unique(nth * len(batch.pairs) + row[token], return_inverse=True)
    edits = Edits(keys % len(batch.pairs), copy, position[token], features[nth], change[token, nth])
    effects = torch.zeros(len(features) * len(batch.pairs), device=chosen.device)
    effects[keys] = exact_effects(lm, batch, sae, edits, metric, batch_size)
    return effects.view(len(features), len(batch.pairs))


@torch.no_grad()
def entry_effects(
    lm: LanguageModel,
    batch: BatchRuns,
    sae: SparseAutoencoder,
    row: Int[Tensor, " entries"],
    position: Int[Tensor, " entries"],
    feature: Int[Tensor, " entries"],
    metric: Metric,
    base: Base,
    batch_size: int,
    means: SiteMeans | None = None,
) -> Float[Tensor, " entries"]:
    """Exact effect of patching one feature at one position only, for each (row, position, feature).

    Positions are among those of ``effect_tokens``: at others nothing could change.
    """
    features, nth = feature.unique(return_inverse=True)
    values = base_change(batch, sae, features, row, position, base, means)
    change = values[torch.arange(len(nth), device=nth.device), nth]
    edits = Edits(row, torch.arange(len(row), device=row.device), position, feature, change)
    return exact_effects(lm, batch, sae, edits, metric, batch_size)


@torch.no_grad()
def exact_effects(
    lm: LanguageModel, batch: BatchRuns, sae: SparseAutoencoder, edits: Edits, metric: Metric, batch_size: int
) -> Float[Tensor, " copies"]:
    """The change of the metric that each edited copy makes; ``batch.clean`` must hold what ``recompute`` needs.

    Copies that are edited late and read early share a forward, so that few positions are computed for nothing.
    """
    x_clean, n_positions = batch.clean.x[sae.site], batch.usable.shape[1]
    last = batch.reads.last_position().to(x_clean.device)[edits.row]
    first = torch.full_like(last, n_positions).scatter_reduce(0, edits.copy, edits.position, "amin")
    order = torch.argsort(first * n_positions + last, stable=True)
    place = order.argsort()[edits.copy]
    by_place = place.argsort(stable=True)
    effects = torch.empty(len(order), device=x_clean.device)
    at = decision_slots(batch)[0].to(x_clean.device)
    for start in range(0, len(order), batch_size):
        copies = order[start : start + batch_size]
        rows, span = edits.row[copies], Span(int(first[copies].min()), int(last[copies].max()) + 1)
        low, high = torch.searchsorted(place[by_place], torch.tensor([start, start + len(rows)], device=rows.device))
        mine = by_place[int(low) : int(high)]
        x = x_clean[:, span.first : span.stop][rows].float()
        moved = edits.change[mine, None] * sae.W_dec[edits.feature[mine]]
        x.index_put_((place[mine] - start, edits.position[mine] - span.first), moved, accumulate=True)
        hidden = recompute(lm, batch.clean, sae.site, x, rows, span, at[rows].clamp(min=span.first))
        effects[copies] = metric_change(lm, batch, metric, hidden, rows, span.first)
    return effects


def decision_slots(batch: BatchRuns) -> tuple[Int[Tensor, "batch slots"], Int[Tensor, " reads"]]:
    """The positions at which each row's metric is read, filled up with the last, and each decision point's slot."""
    reads = batch.reads
    used = reads.weight > 0
    before = torch.cumsum(used, 0) - used.long()
    slot = before - before[torch.searchsorted(reads.row, reads.row)]
    at = reads.last_position()[:, None].repeat(1, int(slot[used].max()) + 1)
    at[reads.row[used], slot[used]] = reads.position[used]
    return at, slot


def metric_change(
    lm: LanguageModel,
    batch: BatchRuns,
    metric: Metric,
    hidden: Float[Tensor, "copies slots d_model"],
    rows: Int[Tensor, " copies"],
    since: int,
) -> Float[Tensor, " copies"]:
    """How the metric of copies of a batch's rows differs from the clean one, from the final norm's output.

    Args:
        hidden: at the positions of ``decision_slots``.
        since: nothing before this position was computed again, so nothing changed there.
    """
    reads, (_, slot) = batch.reads, decision_slots(batch)
    used = ((reads.weight > 0) & (reads.position >= since)).nonzero()[:, 0]
    copy, nth = (rows.cpu()[:, None] == reads.row[used]).nonzero(as_tuple=True)
    at, device = used[nth], hidden.device
    values = metric.values(lm, hidden[copy.to(device), slot[at].to(device)], reads.next_ids[at])
    change = (values - batch.clean_reads[at.to(device)]) * reads.weight[at].to(device)
    return torch.zeros(len(rows), device=device).index_add(0, copy.to(device), change)


def base_change(
    batch: BatchRuns,
    sae: SparseAutoencoder,
    features: Int[Tensor, " features"],
    row: Int[Tensor, " tokens"],
    position: Int[Tensor, " tokens"],
    base: Base,
    means: SiteMeans | None = None,
) -> Float[Tensor, "tokens features"]:
    """f_base - f_clean of chosen features at chosen tokens; 0 where the feature has no entry."""
    small = take_features(sae, features)
    f_clean = small.encode(batch.clean.x[sae.site][row, position])
    if base == "corrupted":
        return small.encode(batch.corrupted.x[sae.site][row, position]) - f_clean
    if base == "zero":
        return -f_clean
    assert means is not None
    # As in attributions: a mean is set where the feature is active, not wherever its mean is above zero.
    return torch.where(f_clean > 0, means.f[features] - f_clean, 0.0)


@torch.no_grad()
def total_effect(
    lm: LanguageModel, run: Run, site: Site, x_base: Float[Tensor, "batch pos d_in"], metric: ReadMetric
) -> Float[Tensor, " batch"]:
    """The exact change of the metric when the activation at ``site`` becomes ``x_base`` at every position.

    One forward of the layers above the site. ``run`` must have been captured with ``for_recompute`` and a metric.
    """
    assert run.metric is not None
    rows = torch.arange(len(x_base), device=x_base.device)
    return metric(recompute(lm, run, site, x_base, rows)) - run.metric
