"""The scalar that is explained: a function of the logits at the decision points, and where those are in a batch.

``METRICS`` names the functions; what they contrast stands in the pairs' decision points. docs/extending.md adds one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.model.unembed import full_logits, token_logits
from saeattr.settings import Decision


@dataclass(frozen=True)
class Reads:
    """Where a batch's metric is read: one entry for each decision point of each row.

    Attributes:
        point: 1 is a row's first.
        weight: sums to 1 in each row: 1 at the last point (``last``), or shared (``all``).
        next_ids: the token that follows in the clean prompt; the point's own where none does.
        tokens: every token that some point contrasts; wanted, unwanted: which of them a point wants and does not want.
    """

    row: Int[Tensor, " reads"]
    position: Int[Tensor, " reads"]
    point: Int[Tensor, " reads"]
    weight: Float[Tensor, " reads"]
    next_ids: Int[Tensor, " reads"]
    tokens: Int[Tensor, " tokens"]
    wanted: Bool[Tensor, "reads tokens"]
    unwanted: Bool[Tensor, "reads tokens"]

    @property
    def n_rows(self) -> int:
        return int(self.row[-1]) + 1

    def last_position(self) -> Int[Tensor, " batch"]:
        """The last position of each row that the metric depends on."""
        used = torch.where(self.weight > 0, self.position, 0)
        return torch.zeros(self.n_rows, dtype=torch.long).scatter_reduce(0, self.row, used, "amax")

    def take(self, which: Int[Tensor, " some"]) -> Reads:
        """Some of the decision points, in the order given."""
        of_points = ("row", "position", "point", "weight", "next_ids", "wanted", "unwanted")
        return dataclasses.replace(self, **{name: getattr(self, name)[which] for name in of_points})


#: From the final norm's output at the decision points, [reads, d_model], to the metric there, [reads], in float32.
ReadValues = Callable[[LanguageModel, Tensor, Reads], Tensor]


@dataclass(frozen=True)
class Metric:
    """A function of the logits at decision points.

    Attributes:
        name: as for ``--metric``; help: one line, which labels figures too.
        values: the function.
        whole_vocabulary: what it costs: every row of the unembedding, or those of the contrasted tokens alone.
    """

    name: str
    help: str
    values: ReadValues
    whole_vocabulary: bool = False


def logit_difference(
    lm: LanguageModel, hidden: Float[Tensor, "reads d_model"], reads: Reads
) -> Float[Tensor, " reads"]:
    """logit(wanted) - logit(unwanted), soft-cap applied; only the tokens' unembedding rows are used.

    The logit of several tokens is that of their summed probability: log sum exp.
    """
    logits = token_logits(lm, hidden, reads.tokens)

    def of(members: Bool[Tensor, "reads tokens"]) -> Float[Tensor, " reads"]:
        return logits.masked_fill(~members.to(logits.device), -torch.inf).logsumexp(dim=1)

    return of(reads.wanted) - of(reads.unwanted)


def neg_log_prob(lm: LanguageModel, hidden: Float[Tensor, "reads d_model"], reads: Reads) -> Float[Tensor, " reads"]:
    """Minus log-probability of the token that follows; needs every row of the unembedding."""
    log_probs = torch.log_softmax(full_logits(lm, hidden), dim=-1)
    return -log_probs.gather(1, reads.next_ids.to(log_probs.device)[:, None])[:, 0]


LOGIT_DIFFERENCE = Metric("logit-difference", "logit(wanted) - logit(unwanted)", logit_difference)
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        LOGIT_DIFFERENCE,
        Metric("neg-log-prob", "minus log-probability of the next token", neg_log_prob, whole_vocabulary=True),
    )
}


def find_metric(name: str, of_behaviour: Sequence[str] = ()) -> Metric:
    """The metric of that name; ``of_behaviour`` are names that a behaviour has beside.

    Raises:
        UserError: there is none.
    """
    if name not in METRICS:
        names = ", ".join(dict.fromkeys([*of_behaviour, *METRICS]))
        raise UserError(f"{name!r} is not a metric: choose one of {names}, or --contrast TOKEN_A TOKEN_B")
    return METRICS[name]


def plan_reads(pairs: Sequence[Pair], decision: Decision = "last") -> Reads:
    """List the decision points of a batch of pairs, in row order."""
    points = [(row, nth, point) for row, pair in enumerate(pairs) for nth, point in enumerate(pair.points)]
    weights = []
    for row, nth, point in points:
        own = pairs[row].points
        shared = point.weight / sum(other.weight for other in own)
        weights.append(shared if decision == "all" else float(nth == len(own) - 1))
    tokens = list(dict.fromkeys(token for _, _, point in points for token in (*point.wanted, *point.unwanted)))
    following = []
    for row, _, point in points:
        ids = pairs[row].clean_ids
        following.append(ids[min(point.position + 1, len(ids) - 1)])
    places = [(row, point.position, nth + 1) for row, nth, point in points]
    row, position, number = torch.tensor(places, dtype=torch.long).T.contiguous()
    wanted, unwanted = (
        torch.tensor([[token in side for token in tokens] for side in sides])
        for sides in ([point.wanted for _, _, point in points], [point.unwanted for _, _, point in points])
    )
    next_ids = torch.tensor(following, dtype=torch.long)
    return Reads(row, position, number, torch.tensor(weights), next_ids, torch.tensor(tokens), wanted, unwanted)


def read_values(
    lm: LanguageModel, metric: Metric, reads: Reads, hidden: Float[Tensor, "batch pos d_model"]
) -> Float[Tensor, " reads"]:
    """The metric at every decision point of the batch."""
    # Two index tensors gather to two dimensions first: on CPU a strided slice in bf16 is far slower to multiply.
    picked = hidden[reads.row.to(hidden.device), reads.position.to(hidden.device)]
    return metric.values(lm, picked, reads)


def per_prompt(reads: Reads, values: Float[Tensor, " reads"]) -> Float[Tensor, " batch"]:
    """One number per prompt: the weighted sum of its decision points."""
    out = values.new_zeros(reads.n_rows)
    return out.index_add(0, reads.row.to(values.device), values * reads.weight.to(values.device))
