"""What a model answers at the end of a prompt: logits, probabilities and ranks of two tokens, and the likeliest one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeattr.model.loading import LanguageModel
from saeattr.model.unembed import token_logits, vocabulary_slices


@dataclass(frozen=True)
class Answers:
    """Of some prompts, what is read at one position of each.

    Attributes:
        logits: of the tokens asked for, two of a fact; log_probs: over the whole vocabulary.
        ranks: 1 and how many tokens are likelier.
        top: the likeliest token.
    """

    logits: Float[Tensor, "rows some"]
    log_probs: Float[Tensor, "rows some"]
    ranks: Int[Tensor, "rows some"]
    top: Int[Tensor, " rows"]

    def take(self, rows: slice) -> Answers:
        """Some of the rows."""
        return Answers(self.logits[rows], self.log_probs[rows], self.ranks[rows], self.top[rows])


def join_answers(parts: Sequence[Answers]) -> Answers:
    """The rows of all parts, in order."""
    names = [field.name for field in dataclasses.fields(Answers)]
    return Answers(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def read_answers(
    lm: LanguageModel, hidden: Float[Tensor, "rows d_model"], targets: Int[Tensor, "rows some"]
) -> Answers:
    """Read some tokens of each row, in float32 with the model's final soft-cap.

    Args:
        hidden: the final norm's output; all logits of these rows are held at once.
    """
    # In slices, because each is taken to float32 first; a target's rank compares numbers of the same product.
    slices = vocabulary_slices(lm, hidden.device)
    logits = torch.cat([token_logits(lm, hidden, token_ids) for token_ids in slices], dim=1)
    own = logits.gather(1, targets.to(logits.device))
    ranks = 1 + (logits[:, None, :] > own[:, :, None]).sum(2)
    log_probs = own - logits.logsumexp(1, keepdim=True)
    return Answers(own.cpu(), log_probs.cpu(), ranks.cpu(), logits.argmax(1).cpu())
