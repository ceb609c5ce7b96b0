"""Which layers are worth an SAE: measured on a few pairs before any SAE is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.runs.batch import BatchRuns, effect_tokens, run_batch, site_tokens
from saeattr.runs.metric import Decision, Metric
from saeattr.saes.loading import SaeFile
from saeattr.selection.choose import choose_layers
from saeattr.selection.lens import logit_lens
from saeattr.selection.roles import positional_ablation
from saeattr.selection.score import DEFAULT_WEIGHTS, ScoreWeights, score_sites
from saeattr.sites import Site

#: Told a group, the number of groups done and of all.
OnGroup = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SiteMeasurements:
    """What the scores are made of.

    Attributes:
        lens: as ``logit_lens`` returns it.
        ablation: as ``positional_ablation`` returns it.
        first_order: as ``first_order_sizes`` returns it.
    """

    lens: pd.DataFrame
    ablation: pd.DataFrame
    first_order: pd.DataFrame


@dataclass(frozen=True)
class Selection:
    """The chosen SAEs and what they were chosen by.

    Attributes:
        table: layer, kind, lens_gain, ablation_effect, gradient_effect, discount, score, sae_width, sae_bytes, chosen;
            one row for each SAE offered.
        lens, ablation: by list.
        chosen: in the order in which the model computes their sites.
        reason: one sentence.
    """

    table: pd.DataFrame
    lens: pd.DataFrame
    ablation: pd.DataFrame
    chosen: list[SaeFile]
    reason: str


def select(
    lm: LanguageModel,
    pairs: Sequence[Pair],
    saes: Sequence[SaeFile],
    metric: Metric,
    *,
    decision: Decision = "last",
    weights: ScoreWeights = DEFAULT_WEIGHTS,
    budget_bytes: int | None = None,
    most: int | None = None,
    pairs: int = 4,
    batch_size: int = 16,
    on_group: OnGroup = lambda group, done, total: None,
) -> Selection:
    """Score every site that has an SAE and choose the best set within the budget; no SAE is opened.

    Args:
        pairs: of one group or of several; every group counts the same.
        saes: known from their configurations; several widths of one site are alternatives.
        budget_bytes: of the chosen SAEs together, in float32; None for no limit.
        most: the largest number of sites; None for no limit.
        pairs: how many pairs of a group are measured, the first ones.
        batch_size: prompts in one forward; it does not change the scores.

    Raises:
        UserError: there are no pairs or SAEs, or not even the smallest SAE fits.
    """
    if not pairs or not saes:
        raise UserError("there is nothing to choose layers by: at least one usable list and one SAE are needed")
    sites = sorted({sae.site for sae in saes})
    found = measure_sites(lm, pairs, sites, metric, decision, pairs, batch_size, on_group)
    scores = score_sites(found.lens, found.ablation, found.first_order, lm.n_layers, weights)
    choice = choose_layers(scores, saes, budget_bytes, most, weights.doubling)
    return Selection(choice.table, found.lens, found.ablation, choice.chosen, choice.reason)


def measure_sites(
    lm: LanguageModel,
    pairs: Sequence[Pair],
    sites: Sequence[Site],
    metric: Metric,
    decision: Decision,
    pairs: int,
    batch_size: int,
    on_group: OnGroup = lambda group, done, total: None,
) -> SiteMeasurements:
    """Lens, positional ablation and first-order sizes of the first ``lists`` pairs of every group."""
    by_group: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_group.setdefault(pair.group, []).append(pair)
    lens, ablation, first_order = [], [], []
    for done, (group, own) in enumerate(by_group.items()):
        on_group(group, done, len(by_group))
        own = own[:pairs]
        lens.append(logit_lens(lm, own, metric, decision, batch_size))
        chunks = [own[start : start + batch_size] for start in range(0, len(own), batch_size)]
        batches = [run_batch(lm, chunk, sites, metric, decision) for chunk in chunks]
        ablation += [positional_ablation(lm, batch, sites, metric, batch_size) for batch in batches]
        first_order.append(first_order_sizes(group, batches, sites))
    parts = [pd.concat(tables, ignore_index=True) for tables in (lens, ablation, first_order)]
    return SiteMeasurements(*parts)


FIRST_ORDER_COLUMNS = ["group", "layer", "kind", "at_decision", "size"]


def first_order_sizes(group: str, batches: Sequence[BatchRuns], sites: Sequence[Site]) -> pd.DataFrame:
    """The size of every site, apart for the positions at which the metric is read and for those before.

    Args:
        batches: all pairs of the group, with x of both runs and g at ``sites``.

    Returns:
        group, layer, kind, at_decision (bool), size (in the metric's unit).
    """
    n_pairs = sum(len(batch.pairs) for batch in batches)
    rows = []
    for site in sites:
        parts = torch.stack([coordinate_effects(batch, site) for batch in batches]).sum(0) / n_pairs
        for at_decision, size in zip((False, True), parts.norm(dim=1).tolist(), strict=True):
            rows.append((group, np.int16(site.layer), site.kind, at_decision, size))
    return pd.DataFrame(rows, columns=FIRST_ORDER_COLUMNS)


def coordinate_effects(batch: BatchRuns, site: Site) -> Float[Tensor, "2 d_in"]:
    """g * (x_corrupted - x_clean) summed over pairs and positions: those before the decision, and the decision's."""
    tokens = site_tokens(batch, site, effect_tokens(batch, "corrupted"))
    effects = (tokens.corrupted - tokens.clean) * tokens.g
    decides = decision_mask(batch)[tokens.row, tokens.position]
    return effects.new_zeros(2, effects.shape[1]).index_add(0, decides.long(), effects)


def decision_mask(batch: BatchRuns) -> Bool[Tensor, "batch pos"]:
    """Where the metric is read."""
    reads, mask = batch.reads, torch.zeros_like(batch.usable)
    used = reads.weight > 0
    mask[reads.row[used], reads.position[used]] = True
    return mask
