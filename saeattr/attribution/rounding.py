"""What a run in bfloat16 costs: one pair's attributions at one site again, with the same weights in float32."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from saeattr.attribution.site import attribute_site
from saeattr.behaviours.pair import Pair, pad_pairs
from saeattr.model.capture import Run, capture
from saeattr.model.loading import LanguageModel
from saeattr.model.precision import run_in_float32
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import CorruptedTokens, SiteTokens
from saeattr.runs.metric import at_partners, per_prompt, plan_reads, read_values
from saeattr.runs.question import Question
from saeattr.saes.sae import SparseAutoencoder

#: A warning is given for a larger relative difference of the attributions. A judgement; what was measured, and what
#: five pairs can miss, is in docs/accuracy.md.
LARGE = 0.15


@dataclass(frozen=True)
class Rounding:
    """One pair at one site, as the model runs and in float32.

    Attributes:
        metric, metric_float32: of the clean prompt, in logits.
        correlation: Pearson over features (effects summed over positions, corrupted base).
        difference: |effects - effects in float32| / |effects in float32|, Euclidean norms over features.
    """

    site: str
    dtype: str
    pair_id: str
    metric: float
    metric_float32: float
    correlation: float
    difference: float


def measure_rounding(lm: LanguageModel, pair: Pair, sae: SparseAutoencoder, question: Question) -> Rounding:
    """Attribute one pair at one site twice: as the model runs, and with its weights in float32 layer by layer.

    The pair must have a corrupted prompt, which is the base whatever the question's.

    Costs about three forwards and two backwards of two prompts, and one layer in float32.
    """
    padded = pad_pairs([pair], lm.pad_id, lm.device)
    # The clean row first, the corrupted one second.
    assert padded.corrupted is not None
    own = torch.arange(len(pair.clean_ids), device=lm.device)[None]
    partner = torch.cat([own, own if padded.partner is None else padded.partner])
    reads = at_partners(plan_reads([pair, pair], question.decision), partner)

    def read(hidden: Tensor) -> Tensor:
        return per_prompt(question.metric, reads, read_values(lm, question.metric, reads, hidden))

    run = capture(lm, padded.clean.above(padded.corrupted), [sae.site], read, keep=("g", "calls"))
    exact = run_in_float32(lm, run, [sae.site], read)
    position = torch.arange(pair.first_change, int(reads.last_position()[0]) + 1, device=lm.device)
    effects, effects_float32 = (_effects(sae, one, position, partner[1, position]) for one in (run, exact))
    assert run.metric is not None
    assert exact.metric is not None
    pair_of = torch.stack([effects, effects_float32])
    return Rounding(
        str(sae.site),
        str(lm.dtype).removeprefix("torch."),
        pair.pair_id,
        float(run.metric[0]),
        float(exact.metric[0]),
        float(torch.corrcoef(pair_of)[0, 1]),
        float((effects - effects_float32).norm() / effects_float32.norm()),
    )


def dtype_warning(found: Sequence[Rounding]) -> str | None:
    """One line where the model's dtype changes attributions by more than ``LARGE``; None where it does not.

    ``found``: a few pairs at one site (five do). The median counts, because pairs differ by a factor of ten.
    """
    if not found or typical(found) <= LARGE:
        return None
    worst = max(found, key=lambda one: one.difference)
    return (
        f"{worst.dtype} changes attributions at {worst.site} by {100 * typical(found):.0f} % (median of {len(found)} "
        f"pairs against float32; pair {worst.pair_id}: correlation {worst.correlation:.3f}, metric {worst.metric:+.2f} "
        f"against {worst.metric_float32:+.2f}): use --dtype float32 where memory allows"
    )


def typical(found: Sequence[Rounding]) -> float:
    """The median relative difference."""
    return statistics.median(one.difference for one in found)


def _effects(sae: SparseAutoencoder, run: Run, position: Tensor, partner: Tensor) -> Tensor:
    """Effects by feature, the corrupted base, summed over positions of the clean row."""
    x, g = run.x[sae.site], run.g[sae.site]
    corrupted = CorruptedTokens(x[1, partner.clamp(min=0)].float(), partner >= 0)
    tokens = SiteTokens(torch.zeros_like(position), position, x[0, position].float(), corrupted, g[0, position].float())
    found = attribute_site(SiteBase("corrupted", sae), tokens)
    return torch.zeros(sae.d_sae, device=x.device).index_add(0, found.feature, found.effect)
