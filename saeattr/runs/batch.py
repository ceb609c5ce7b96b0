"""The runs of one batch of pairs: clean with gradients, corrupted, and the metric at every decision point."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeattr.behaviours.pair import BOS, Pair, pad_pairs
from saeattr.errors import UserError
from saeattr.model.capture import Keep, Run, capture
from saeattr.model.hookpoints import HookPoint
from saeattr.model.loading import LanguageModel
from saeattr.model.prompts import Prompts
from saeattr.runs.metric import Metric, Reads, at_partners, per_prompt, plan_reads, read_values
from saeattr.runs.question import Question
from saeattr.settings import BaseName

#: What a method puts in force during the clean run, such as relevance patching's rules.
Rules = Callable[[LanguageModel], AbstractContextManager[None]]


@dataclass(frozen=True)
class BatchRuns:
    """One padded batch after its forwards, with the question it was run for.

    Attributes:
        clean: x, g and the metric of the clean prompts, with what ``recompute`` needs.
        corrupted: x and the metric of the corrupted prompts; None where there are none.
        clean_reads, corrupted_reads: the metric at every decision point, [reads].
        usable: real tokens other than BOS, whose activations are of another size than all others.
        has_partner: where x of the corrupted run is that of a token, and not 0 for want of one; None for everywhere.
    """

    lm: LanguageModel
    question: Question
    pairs: list[Pair]
    reads: Reads
    clean: Run
    corrupted: Run | None
    clean_reads: Float[Tensor, " reads"]
    corrupted_reads: Float[Tensor, " reads"] | None
    usable: Bool[Tensor, "batch pos"]
    has_partner: Bool[Tensor, "batch pos"] | None = None

    def read(self, hidden: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, " batch"]:
        """The metric of each prompt from the final norm's output."""
        metric, reads = self.question.metric, self.reads
        return per_prompt(metric, reads, read_values(self.lm, metric, reads, hidden))

    def corrupted_tokens(
        self, site: HookPoint, row: Int[Tensor, " tokens"], position: Int[Tensor, " tokens"]
    ) -> CorruptedTokens | None:
        """x of the corrupted run at some tokens; None where there is no such run."""
        if self.corrupted is None:
            return None
        there = None if self.has_partner is None else self.has_partner[row, position]
        return CorruptedTokens(self.corrupted.x[site][row, position].float(), there)


@dataclass(frozen=True)
class CorruptedTokens:
    """x of the corrupted run beside some clean tokens, float32; ``there`` says which have a partner, None: all."""

    x: Float[Tensor, "tokens d_in"]
    there: Bool[Tensor, " tokens"] | None = None

    def take(self, which: slice | Bool[Tensor, " tokens"]) -> CorruptedTokens:
        """Some of the tokens."""
        return CorruptedTokens(self.x[which], None if self.there is None else self.there[which])


@dataclass(frozen=True)
class SiteTokens:
    """The tokens of a batch at one site that can have an effect, flattened.

    Attributes:
        row, position: where each token stands in the padded batch.
        clean, corrupted: activations; corrupted is None where there is no corrupted run.
        g: gradient of the metric at the clean activation (or a method's replacement for it), float32.
    """

    row: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]
    clean: Float[Tensor, "tokens d_in"]
    corrupted: CorruptedTokens | None
    g: Float[Tensor, "tokens d_in"]


def run_batch(
    lm: LanguageModel,
    pairs: Sequence[Pair],
    sites: Sequence[HookPoint],
    question: Question,
    *,
    gradients: bool = True,
    rules: Rules = lambda lm: nullcontext(),
) -> BatchRuns:
    """One forward and one backward of the clean prompts, one forward of the corrupted ones.

    Args:
        gradients: False leaves the backward out, and g empty.
        rules: in force during the clean run.

    Raises:
        UserError: the question needs corrupted prompts and a pair has none, or the rules do not fit the model.
    """
    padded = pad_pairs(list(pairs), lm.pad_id, lm.device)
    if question.base == "corrupted" and padded.corrupted is None:
        lone = next(pair for pair in pairs if pair.corrupted_ids is None)
        raise UserError(
            f"pair {lone.pair_id} of {lone.group!r} has no corrupted prompt: features can be patched to --base zero or "
            "mean only"
        )
    reads = plan_reads(pairs, question.decision)
    keep: tuple[Keep, ...] = ("g", "calls") if gradients else ("calls",)
    with rules(lm):
        clean, clean_reads = _run(lm, padded.clean, sites, question.metric, reads, keep)
    usable = usable_tokens(padded.clean, pairs)
    if padded.corrupted is None:
        return BatchRuns(lm, question, list(pairs), reads, clean, None, clean_reads, None, usable)
    corrupted, corrupted_reads = _run(lm, padded.corrupted, sites, question.metric, at_partners(reads, padded.partner))
    found = BatchRuns(lm, question, list(pairs), reads, clean, corrupted, clean_reads, corrupted_reads, usable)
    if padded.partner is None:
        return found
    beside = dataclasses.replace(corrupted, x=at_clean_positions(corrupted.x, padded.partner))
    return dataclasses.replace(found, corrupted=beside, has_partner=padded.partner >= 0)


def usable_tokens(clean: Prompts, pairs: Sequence[Pair]) -> Bool[Tensor, "batch pos"]:
    """The real tokens of clean prompts but BOS."""
    usable = clean.mask.clone()
    for row, pair in enumerate(pairs):
        usable[row, [position for position, role in enumerate(pair.roles) if role == BOS]] = False
    return usable


def _run(
    lm: LanguageModel,
    prompts: Prompts,
    sites: Sequence[HookPoint],
    metric: Metric,
    reads: Reads,
    keep: Sequence[Keep] = (),
) -> tuple[Run, Float[Tensor, " reads"]]:
    """One run, and its metric at every decision point."""
    at_reads: list[Tensor] = []

    def read(hidden: Tensor) -> Tensor:
        values = read_values(lm, metric, reads, hidden)
        at_reads.append(values.detach())
        return per_prompt(metric, reads, values)

    return capture(lm, prompts, sites, read, keep), at_reads[0]


def at_clean_positions(
    x: Mapping[HookPoint, Float[Tensor, "batch corrupted_pos d_in"]], partner: Int[Tensor, "batch pos"]
) -> dict[HookPoint, Float[Tensor, "batch pos d_in"]]:
    """x of corrupted prompts beside the clean tokens that are their partners; 0 where a token has none."""
    row = torch.arange(len(partner), device=partner.device)[:, None]
    there = (partner >= 0)[..., None]
    return {site: torch.where(there, values[row, partner.clamp(min=0)], 0.0) for site, values in x.items()}


def effect_tokens(batch: BatchRuns, base: BaseName) -> Bool[Tensor, "batch pos"]:
    """The tokens whose patching can change the metric.

    Not padding, not BOS, not after the last decision point (nothing there reaches it), and for the corrupted base not
    before the first token that differs (both runs are equal there).
    """
    usable = batch.usable
    position = torch.arange(usable.shape[1], device=usable.device)
    chosen = usable & (position <= batch.reads.last_position().to(usable.device)[:, None])
    if base == "corrupted":
        first_change = torch.tensor([pair.first_change for pair in batch.pairs], device=usable.device)
        chosen &= position >= first_change[:, None]
    return chosen


def site_tokens(batch: BatchRuns, site: HookPoint, chosen: Bool[Tensor, "batch pos"]) -> SiteTokens:
    """The chosen tokens of a site in float32, in row order."""
    row, position = chosen.nonzero(as_tuple=True)
    clean, g = (values[site][row, position].float() for values in (batch.clean.x, batch.clean.g))
    return SiteTokens(row, position, clean, batch.corrupted_tokens(site, row, position), g)


def clean_tokens(batches: Sequence[BatchRuns], site: HookPoint) -> Float[Tensor, "tokens d_in"]:
    """x of the clean runs at every real token but BOS."""
    return torch.cat([batch.clean.x[site][batch.usable] for batch in batches])


def pair_ids_of(batches: Sequence[BatchRuns]) -> list[str]:
    """The pairs of all batches, in the order of ``metric_gap`` and of effects joined over batches."""
    return [pair.pair_id for batch in batches for pair in batch.pairs]


def metric_gap(batches: Sequence[BatchRuns]) -> Float[Tensor, " pairs"]:
    """Corrupted minus clean metric of each pair; NaN without a corrupted prompt."""
    parts = []
    for batch in batches:
        assert batch.clean.metric is not None
        there = None if batch.corrupted is None else batch.corrupted.metric
        parts.append(torch.full_like(batch.clean.metric, torch.nan) if there is None else there - batch.clean.metric)
    return torch.cat(parts)
