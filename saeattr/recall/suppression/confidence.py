"""How sure a model is of an answer: its probability, log odds and rank, the likeliest token's, and the entropy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from saeattr.model.loading import LanguageModel
from saeattr.model.unembed import entropy, full_logits, token_logits, vocabulary_slices

#: Bins of equal width of an expected calibration error.
BINS = 10


def answer_log_odds(
    lm: LanguageModel, hidden: Float[Tensor, "rows d_model"], answers: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """log P(answer) / (1 - P(answer)) in nats: its logit - log sum exp of all others.

    Unlike log P it goes on growing where P is 1 to seven digits. All logits of the rows are held at once; gradients
    flow to ``hidden``.
    """
    return _log_odds(full_logits(lm, hidden), answers)


def _log_odds(logits: Float[Tensor, "rows vocab"], answers: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    at = answers.to(logits.device)[:, None]
    return logits.gather(1, at)[:, 0] - logits.scatter(1, at, -torch.inf).logsumexp(1)


@torch.no_grad()
def read_confidence(
    lm: LanguageModel, hidden: Float[Tensor, "rows d_model"], answers: Int[Tensor, " rows"]
) -> dict[str, NDArray[np.float64]]:
    """p_answer, log_odds, rank, p_top and entropy (nats) of each row, over the whole vocabulary.

    Args:
        hidden: the final norm's output.
    """
    slices = vocabulary_slices(lm, hidden.device)
    logits = torch.cat([token_logits(lm, hidden, token_ids) for token_ids in slices], dim=1)
    own = logits.gather(1, answers.to(logits.device)[:, None])
    spread, total = entropy(lm, hidden)
    odds = _log_odds(logits, answers)
    found = {
        "p_answer": odds.sigmoid(),
        "log_odds": odds,
        "rank": 1 + (logits > own).sum(1),
        "p_top": (logits.amax(1) - total).exp(),
        "entropy": spread,
    }
    return {name: values.cpu().double().numpy() for name, values in found.items()}


def calibration_error(confidence: Sequence[float] | NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error (Guo et al. 2017): |accuracy - mean confidence| over bins, by their shares."""
    sure = np.asarray(confidence, dtype=float)
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [abs((right[place == at] - sure[place == at]).sum()) for at in range(BINS)]
    return float(sum(gaps) / len(sure))
