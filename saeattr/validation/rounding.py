"""What a run in bfloat16 costs exact effects: a few of them again with the same weights in float32.

An unedited copy in the same forward takes away what the batch's shape rounds differently (``saeattr.runs.unedited``).
What is left is that an edited copy is rounded anew in every layer, about as much however small its edit is.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.attribution.rounding import LARGE
from saeattr.behaviours.pair import Pair, PairBatch, pad_pairs
from saeattr.model.capture import capture
from saeattr.model.loading import LanguageModel
from saeattr.model.precision import layers_in_float32
from saeattr.model.recompute import recompute
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import CorruptedTokens
from saeattr.runs.metric import per_prompt, plan_reads, read_values
from saeattr.runs.question import Question
from saeattr.saes.sae import SparseAutoencoder


@dataclass(frozen=True)
class ExactRounding:
    """Exact effects of some features at one site in one pair, as the model runs and in float32."""

    site: str
    dtype: str
    effects: tuple[float, ...]
    effects_float32: tuple[float, ...]


@torch.no_grad()
def measure_exact_rounding(
    lm: LanguageModel, pair: Pair, sae: SparseAutoencoder, features: Sequence[int], question: Question
) -> ExactRounding:
    """Patch each feature at all its positions twice: as the model runs, and with its layers in float32.

    The pair must have a corrupted prompt, which is the base whatever the question's.

    Costs two forwards of two prompts, two of the layers above the site for each feature and once more, and one layer in
    float32.
    """
    few = SiteBase("corrupted", sae).of_features(torch.tensor(list(features), device=lm.device))
    padded = pad_pairs([pair], lm.pad_id, lm.device)
    effects = []
    for context in (nullcontext(), layers_in_float32(lm)):
        with context:
            effects.append(tuple(_effects(lm, pair, padded, few, question).tolist()))
    return ExactRounding(str(sae.site), str(lm.dtype).removeprefix("torch."), *effects)


def exact_warning(found: Sequence[ExactRounding]) -> str | None:
    """One line where the dtype changes exact effects by more than ``LARGE`` of the typical one; None where not.

    The typical effect is the median of those measured, in float32; so is the change.
    """
    fine = [effect for one in found for effect in one.effects_float32]
    coarse = [effect for one in found for effect in one.effects]
    if not fine:
        return None
    typical = statistics.median(abs(effect) for effect in fine)
    change = statistics.median(abs(a - b) for a, b in zip(coarse, fine, strict=True))
    if change <= LARGE * typical:
        return None
    share = f", {100 * change / typical:.0f} % of the typical {typical:.2g}" if typical else ""
    return (
        f"{found[0].dtype} changes exact effects at {found[0].site} by {change:.2g}{share} (medians of {len(fine)} "
        "effects against float32): smaller ones cannot be told from rounding; use --dtype float32 where memory allows"
    )


def _effects(
    lm: LanguageModel, pair: Pair, padded: PairBatch, few: SiteBase, question: Question
) -> Float[Tensor, " features"]:
    """The change of the metric that patching each of a few features makes, against an unedited copy beside them."""
    assert padded.corrupted is not None
    site, n = few.sae.site, few.sae.d_sae
    run = capture(lm, padded.clean.above(padded.corrupted), [site], keep=("calls",))
    # The clean row is run n + 1 times, the last time unedited.
    reads = plan_reads([pair] * (n + 1), question.decision)
    position = torch.arange(pair.first_change, int(reads.last_position()[0]) + 1, device=lm.device)
    partner = position if padded.partner is None else padded.partner[0, position]
    clean, corrupted = (values.float() for values in run.x[site])
    there = CorruptedTokens(corrupted[partner.clamp(min=0)], partner >= 0)
    change = few.change(few.sae.encode(clean[position]), there)
    x = clean.repeat(n + 1, 1, 1)
    x[:n, position] += change.T[:, :, None] * few.sae.W_dec[:, None]
    hidden = recompute(run, site, x, torch.zeros(n + 1, dtype=torch.long, device=lm.device))
    values = per_prompt(question.metric, reads, read_values(lm, question.metric, reads, hidden))
    return values[:n] - values[n]
