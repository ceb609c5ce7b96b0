"""Which layers are worth an SAE: measured on a few pairs before any SAE is loaded.

Three measurements, each cheap: the logit lens, positional ablation, and the first-order size of a site, which is
attribution patching of x's own coordinates. A site's features share out (x_corrupted - x_clean) . g among themselves.
So do its coordinates, which are there without an SAE: the effect of coordinate j is the mean over pairs of
sum_pos g_j (x_corrupted - x_clean)_j, and the site's size is the Euclidean norm of these effects. What cancels in the
signed sum still counts, as it does among features; many small effects count for less than a few large ones, and in
docs/selection.md that comes nearer to the largest features' exact effects than the sum of absolute effects does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saeattr.behaviours.pair import by_group
from saeattr.errors import UserError
from saeattr.runs.batch import BatchRuns, effect_tokens, site_tokens
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.formats import SaeFile
from saeattr.selection.choose import choose_layers
from saeattr.selection.lens import logit_lens
from saeattr.selection.limits import Limits
from saeattr.selection.reason import choice_lines
from saeattr.selection.roles import positional_ablation
from saeattr.selection.score import DEFAULT_WEIGHTS, ScoreWeights, score_sites
from saeattr.sites import Site
from saeattr.tables import LAYER_SCORES, LENS, ROLE_EFFECTS, site_columns

#: Pairs of a group that are measured, the first ones.
MEASURED_PAIRS = 4


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
        table: one row for each SAE offered (``tables.LAYER_SCORES``).
        lens, ablation: by pair (``tables.LENS``, ``tables.ROLE_EFFECTS``).
        chosen: in the order in which the model computes their sites.
        reason: one sentence.
        limits: within which they were chosen.
        here_bytes: of the chosen SAEs, what was on this machine then; None where none is published.
    """

    table: pd.DataFrame
    lens: pd.DataFrame
    ablation: pd.DataFrame
    chosen: list[SaeFile]
    reason: str
    limits: Limits = field(default_factory=Limits)
    here_bytes: int | None = None

    @property
    def lines(self) -> list[str]:
        """What was chosen, what was left out by which limit, and how to take it."""
        return choice_lines(self.table, self.limits, self.here_bytes)


def select_sites(
    task: Task,
    limits: Limits | None = None,
    weights: ScoreWeights = DEFAULT_WEIGHTS,
    measured_pairs: int = MEASURED_PAIRS,
) -> Selection:
    """Score every site that has an SAE and choose the best set within the limits; no SAE is opened.

    Args:
        task: its pairs are of one group or of several, every group counts the same; its SAEs are the offer, several
            widths of one site are alternatives.
        measured_pairs: how many pairs of a group are measured, the first ones.

    Raises:
        UserError: there are no pairs or SAEs, a pair has no corrupted prompt, or not even the smallest SAE fits.
    """
    if not task.pairs or not task.saes:
        raise UserError("there is nothing to choose layers by: at least one usable pair and one SAE are needed")
    if any(pair.corrupted_ids is None for pair in task.pairs):
        raise UserError("layers are chosen by what the corrupted prompt changes, and a pair has none: name the --sites")
    found = measure_sites(task, measured_pairs)
    scores = score_sites(found.lens, found.ablation, found.first_order, task.lm.n_layers, weights)
    limits = limits or Limits()
    choice = choose_layers(scores, task.saes, limits, weights.doubling)
    published = [file for file in choice.chosen if file.published is not None]
    here = sum(file.n_bytes for file in published if not file.download) if published else None
    tables = LAYER_SCORES.frame(choice.table), LENS.frame(found.lens), ROLE_EFFECTS.frame(found.ablation)
    return Selection(*tables, choice.chosen, choice.reason, limits, here)


def measure_sites(task: Task, measured_pairs: int = MEASURED_PAIRS) -> SiteMeasurements:
    """Lens, positional ablation and first-order sizes of the first pairs of every group."""
    sites = sorted({sae.site for sae in task.saes})
    groups = by_group(task.pairs)
    lens, ablation, first_order = [], [], []
    for done, (group, pairs) in enumerate(groups.items()):
        task.on_step("choosing layers", done, len(groups))
        own = dataclasses.replace(task, pairs=pairs[:measured_pairs])
        lens.append(logit_lens(own))
        batches = run_pairs(own, sites, gradients=True)
        # Site by site, so that the rows' order is the same however many pairs a batch has.
        ablation += [positional_ablation(batch, [site], task.pace.batch_size) for site in sites for batch in batches]
        first_order.append(first_order_sizes(group, batches, sites))
    task.on_step("choosing layers", len(groups), len(groups))
    parts = [pd.concat(tables, ignore_index=True) for tables in (lens, ablation, first_order)]
    return SiteMeasurements(*parts)


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
            rows.append({"group": group, **site_columns(site), "at_decision": at_decision, "size": size})
    return pd.DataFrame(rows)


def coordinate_effects(batch: BatchRuns, site: Site) -> Float[Tensor, "2 d_in"]:
    """g * (x_corrupted - x_clean) summed over pairs and positions: those before the decision, and the decision's."""
    tokens = site_tokens(batch, site, effect_tokens(batch, "corrupted"))
    assert tokens.corrupted is not None
    effects = (tokens.corrupted.x - tokens.clean) * tokens.g
    decides = decision_mask(batch)[tokens.row, tokens.position]
    return effects.new_zeros(2, effects.shape[1]).index_add(0, decides.long(), effects)


def decision_mask(batch: BatchRuns) -> Bool[Tensor, "batch pos"]:
    """Where the metric is read."""
    reads, mask = batch.reads, torch.zeros_like(batch.usable)
    used = reads.weight > 0
    mask[reads.row[used], reads.position[used]] = True
    return mask
