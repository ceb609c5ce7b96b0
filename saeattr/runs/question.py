"""What is asked of a run, and how it is worked on."""

from __future__ import annotations

from dataclasses import dataclass

from saeattr.runs.metric import LOGIT_DIFFERENCE, Metric
from saeattr.settings import BaseName, Decision


@dataclass(frozen=True)
class Question:
    """What is asked; every stage gets it whole.

    Attributes:
        metric: the number to explain, read at the pairs' decision points.
        decision: read at the last of them, or the mean of all.
        base: what features are patched to.
        method: where g comes from, an entry of ``saeattr.attribution.methods.METHODS``.
        ig_steps: of integrated gradients.
        check_pairs: of a group, in which the sum of a site's estimates is held against its exact effect.
    """

    metric: Metric = LOGIT_DIFFERENCE
    decision: Decision = "last"
    base: BaseName = "corrupted"
    method: str = "attribution"
    ig_steps: int = 10
    check_pairs: int = 3


@dataclass(frozen=True)
class Pace:
    """How a question is worked on; it changes speed and memory, and the seed the draws, but nothing that is asked.

    Attributes:
        batch_size: pairs in one forward.
        copies: edited copies of prompts in one forward.
        seed: of controls, samples of features and random orders.
    """

    batch_size: int = 16
    copies: int = 32
    seed: int = 0
