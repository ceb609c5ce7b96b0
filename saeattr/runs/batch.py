"""The runs of one batch of pairs: clean with gradients, corrupted, and the metric at every decision point."""

from __future__ import annotations
from jaxtyping import Int


from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saeattr.runs.base import Base
from saeattr.runs.metric import Decision, Metric, Reads, per_prompt, plan_reads, read_values
from saeattr.model.capture import Run, capture
from saeattr.model.loading import LanguageModel
from saeattr.model.relevance import relevance_rules
from saeattr.behaviours.pair import Pair, pad_pairs
from saeattr.sites import Site


@dataclass(frozen=True)
class BatchRuns:
    """One padded batch after its forwards.

    Attributes:
        clean: x, g and the metric of the clean prompts, with what ``recompute`` needs.
        corrupted: x and the metric of the corrupted prompts.
        clean_reads, corrupted_reads: the metric at every decision point, [reads].
        usable: real tokens other than BOS, whose activations are of another size than all others.
    """

    pairs: list[Pair]
    reads: Reads
    clean: Run
    corrupted: Run
    clean_reads: Float[Tensor, " reads"]
    corrupted_reads: Float[Tensor, " reads"]
    usable: Bool[Tensor, "batch pos"]

    def read_metric(self, lm: LanguageModel, metric: Metric, hidden: Tensor) -> Float[Tensor, " batch"]:
        """One number per prompt from a final hidden state of this batch."""
        return per_prompt(self.reads, read_values(lm, metric, self.reads, hidden))


def run_batch(
    lm: LanguageModel,
    pairs: Sequence[Pair],
    sites: Sequence[Site],
    metric: Metric,
    decision: Decision,
    *,
    relevance: bool = False,
) -> BatchRuns:
    """One forward and one backward of the clean prompts, one forward of the corrupted ones.

    With ``relevance``, g holds relevance patching's coefficients in place of gradients.

    Raises:
        UserError: no relevance rule is known for a part of the model.
    """
    padded = pad_pairs(list(pairs), lm.pad_id, lm.device)
    reads = plan_reads(metric, list(pairs), decision)
    at_reads: list[Tensor] = []

    def read(hidden: Tensor) -> Tensor:
        values = read_values(lm, metric, reads, hidden)
        at_reads.append(values.detach())
        return per_prompt(reads, values)

    with relevance_rules(lm) if relevance else nullcontext():
        clean = capture(lm, padded.clean, padded.mask, sites, read, gradients=True, for_recompute=True)
    corrupted = capture(lm, padded.corrupted, padded.mask, sites, read)
    usable = padded.mask.clone()
    for row, pair in enumerate(pairs):
        usable[row, [position for position, role in enumerate(pair.roles) if role == "bos"]] = False
    return BatchRuns(list(pairs), reads, clean, corrupted, at_reads[0], at_reads[1], usable)


def effect_tokens(batch: BatchRuns, base: Base) -> Bool[Tensor, "batch pos"]:
    """The tokens whose patching can change the metric.

    Not padding, not BOS, not after the last decision point (nothing there reaches it), and for the corrupted base not
    before the swapped word (both runs are equal there).
    """
    usable = batch.usable
    position = torch.arange(usable.shape[1], device=usable.device)
    chosen = usable & (position <= batch.reads.last_position().to(usable.device)[:, None])
    if base == "corrupted":
        first_swap = torch.tensor([min(pair.swap_positions) for pair in batch.pairs], device=usable.device)
        chosen &= position >= first_swap[:, None]
    return chosen


def site_tokens(batch: BatchRuns, site: Site, chosen: Bool[Tensor, "batch pos"]) -> SiteTokens:
    """The chosen tokens of a site in float32, in row order."""
    row, position = chosen.nonzero(as_tuple=True)
    clean, corrupted, g = (
        values[site][row, position].float() for values in (batch.clean.x, batch.corrupted.x, batch.clean.g)
    )
    return SiteTokens(row, position, clean, corrupted, g)


@dataclass(frozen=True)
class SiteTokens:
    """The tokens of a batch at one site that can have an effect, flattened.

    Attributes:
        row, position: where each token stands in the padded batch.
        clean, corrupted: activations, float32.
        g: gradient of the metric at the clean activation (or a method's replacement for it), float32.
    """

    row: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]
    clean: Float[Tensor, "tokens d_in"]
    corrupted: Float[Tensor, "tokens d_in"]
    g: Float[Tensor, "tokens d_in"]
