"""Exact effects: patch features to their base value, keep the error term, run the layers above again.

x becomes x + (f_i^base - f_i^clean) W_dec[i] at the feature's positions; nothing else changes at the site, so the error
term is kept. Only the layers above run, from the first edited position on: many edited copies of the prompts in one
batch, whichever feature they are of. An effect is the difference to the clean run, or where the dtype is coarser than
float32 to an unedited copy in the same forward (``saeattr.runs.unedited``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeattr.model.recompute import Span, recompute
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, effect_tokens
from saeattr.runs.metric import weighted_sums
from saeattr.runs.unedited import forwards, unedited_rows, with_unedited
from saeattr.saes.sae import SparseAutoencoder
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


@dataclass(frozen=True)
class Change:
    """What patching one feature changes in a batch: f_base - f_clean where the feature has an entry.

    Attributes:
        row, position, change: one entry for each token at which it changes.
    """

    row: Int[Tensor, " entries"]
    position: Int[Tensor, " entries"]
    change: Float[Tensor, " entries"]

    def take(self, entries: Bool[Tensor, " entries"]) -> Change:
        """Some of the entries."""
        return Change(self.row[entries], self.position[entries], self.change[entries])


@torch.no_grad()
def feature_effects(
    batch: BatchRuns, base: SiteBase, features: Int[Tensor, " features"], copies: int
) -> Float[Tensor, "features batch"]:
    """Exact effect of patching each feature at all its positions, pair by pair.

    Its positions are those that ``attribute_site`` has entries for. A pair in which nothing changes has the effect 0
    and costs nothing.

    Args:
        features: indices into the SAE, no two the same.
        copies: edited copies in one forward; rows of different features share it.
    """
    chosen = effect_tokens(batch, base.name)
    row, position = chosen.nonzero(as_tuple=True)
    change = base_change(batch, base, features, row, position)
    nth, token = change.T.nonzero(as_tuple=True)
    # Copies stand in the order of (feature, pair).
    keys, copy = torch.unique(nth * len(batch.pairs) + row[token], return_inverse=True)
    edits = Edits(keys % len(batch.pairs), copy, position[token], features[nth], change[token, nth])
    effects = torch.zeros(len(features) * len(batch.pairs), device=chosen.device)
    effects[keys] = exact_effects(batch, base.sae, edits, copies)
    return effects.view(len(features), len(batch.pairs))


@torch.no_grad()
def feature_change(batch: BatchRuns, base: SiteBase, feature: int) -> Change:
    """What patching one feature (index into the SAE) at all its positions changes."""
    row, position = effect_tokens(batch, base.name).nonzero(as_tuple=True)
    ids = torch.tensor([feature], device=row.device)
    change = base_change(batch, base, ids, row, position)[:, 0]
    return Change(row, position, change).take(change != 0)


@torch.no_grad()
def along_effects(
    batch: BatchRuns,
    sae: SparseAutoencoder,
    feature: int,
    change: Change,
    along: Int[Tensor, " directions"],
    copies: int,
) -> Float[Tensor, "directions batch"]:
    """Exact effect of moving x as far as a change of ``feature`` moves it, along the decoder directions of others.

    x becomes x + (f_base - f_clean) |W_dec[feature]| W_dec[a] / |W_dec[a]|, token by token; along the feature itself
    that is its own patch. A pair in which nothing changes has the effect 0 and costs nothing.

    Args:
        along: indices into the SAE.
    """
    length = sae.W_dec[along].norm(dim=1)
    scale = sae.W_dec[feature].norm() / length
    n_entries, device = len(change.row), along.device
    nth = torch.arange(len(along), device=device).repeat_interleave(n_entries)
    row, position, size = (part.repeat(len(along)) for part in (change.row, change.position, change.change))
    # Copies stand in the order of (direction, pair).
    keys, copy = torch.unique(nth * len(batch.pairs) + row, return_inverse=True)
    edits = Edits(keys % len(batch.pairs), copy, position, along[nth], size * scale[nth])
    effects = torch.zeros(len(along) * len(batch.pairs), device=device)
    effects[keys] = exact_effects(batch, sae, edits, copies)
    return effects.view(len(along), len(batch.pairs))


@torch.no_grad()
def exact_effects(batch: BatchRuns, sae: SparseAutoencoder, edits: Edits, copies: int) -> Float[Tensor, " copies"]:
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
    for part in forwards(batch, edits.row[order], copies):
        together = order[part]
        rows, span = edits.row[together], Span(int(first[together].min()), int(last[together].max()) + 1)
        ends = torch.tensor([part.start, part.start + len(rows)], device=rows.device)
        low, high = torch.searchsorted(place[by_place], ends)
        mine, every = by_place[int(low) : int(high)], with_unedited(batch, rows)
        x = x_clean[:, span.first : span.stop][every].float()
        moved = edits.change[mine, None] * sae.W_dec[edits.feature[mine]]
        x.index_put_((place[mine] - part.start, edits.position[mine] - span.first), moved, accumulate=True)
        hidden = recompute(batch.clean, sae.site, x, every, span, at[every].clamp(min=span.first))
        effects[together] = metric_change(batch, hidden, rows, span.first)
    return effects


@torch.no_grad()
def total_effect(
    batch: BatchRuns, site: Site, x_base: Float[Tensor, "rows pos d_in"], rows: Int[Tensor, " rows"] | None = None
) -> Float[Tensor, " rows"]:
    """The exact change of the metric when the activation at ``site`` becomes ``x_base`` at every position.

    What a site's effects should add up to. One forward of the layers above the site, of no more copies than the batch
    has rows; two where unedited copies run with them.

    Args:
        rows: those of the batch that ``x_base`` is of; all by default.
    """
    rows = torch.arange(len(x_base), device=x_base.device) if rows is None else rows
    at = decision_slots(batch)[0].to(x_base.device)
    found = []
    for part in forwards(batch, rows, len(batch.pairs)):
        every, beside = with_unedited(batch, rows[part]), unedited_rows(batch, rows[part])
        x = torch.cat([x_base[part], batch.clean.x[site][beside].to(x_base.dtype)])
        hidden = recompute(batch.clean, site, x, every, at=at[every])
        found.append(metric_change(batch, hidden, rows[part], 0))
    return torch.cat(found) if found else x_base.new_zeros(0)


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
    batch: BatchRuns, hidden: Float[Tensor, "copies slots d_model"], rows: Int[Tensor, " edits"], since: int
) -> Float[Tensor, " edits"]:
    """How the metric of edited copies of a batch's rows differs from the clean one, from the final norm's output.

    Args:
        hidden: at the positions of ``decision_slots``; behind the edited copies the unedited ones (``with_unedited``),
            whose metric is then the clean one.
        since: nothing before this position was computed again, so nothing changed there.
    """
    reads, (_, slot), metric = batch.reads, decision_slots(batch), batch.question.metric
    # The final norm may lie on another card than the unembedding; changes are gathered where the SAEs are.
    device = batch.lm.device
    clean_reads = batch.clean_reads.to(device)
    used = ((reads.weight > 0) & (reads.position >= since)).nonzero()[:, 0]
    # Edited and unedited copies are read in one go: the unembedding rounds by its batch's shape too.
    every = rows if len(hidden) == len(rows) else with_unedited(batch, rows)
    copy, nth = (every.cpu()[:, None] == reads.row[used]).nonzero(as_tuple=True)
    at = used[nth]
    read = hidden[copy.to(hidden.device), slot[at].to(hidden.device)]
    values = metric.values(batch.lm, read, reads.take(at)).to(device)
    n_edited = int((copy < len(rows)).sum())
    at, copy = at.to(device), copy[:n_edited].to(device)
    clean_reads = clean_reads.index_copy(0, at[n_edited:], values[n_edited:])
    change = (values[:n_edited] - clean_reads[at[:n_edited]]) * reads.weight.to(device)[at[:n_edited]]
    total = torch.zeros(len(rows), device=device).index_add(0, copy, change)
    if metric.of_prompt is None:
        return total
    clean = weighted_sums(reads, clean_reads)[rows.to(device)]
    return metric.of_prompt(clean + total) - metric.of_prompt(clean)


def base_change(
    batch: BatchRuns,
    base: SiteBase,
    features: Int[Tensor, " features"],
    row: Int[Tensor, " tokens"],
    position: Int[Tensor, " tokens"],
) -> Float[Tensor, "tokens features"]:
    """f_base - f_clean of chosen features at chosen tokens; 0 where the feature has no entry."""
    few, site = base.of_features(features), base.sae.site
    f_clean = few.sae.encode(batch.clean.x[site][row, position])
    return few.change(f_clean, batch.corrupted_tokens(site, row, position))
