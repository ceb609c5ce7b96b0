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
from saeattr.model.unembed import log_normaliser, single_logits, token_logits
from saeattr.settings import Decision


@dataclass(frozen=True)
class Reads:
    """Where a batch's metric is read: one entry for each decision point of each row.

    Attributes:
        point: 1 is a row's first.
        weight: sums to 1 in each row: 1 at the last point (``last``), or shared (``all``). Where points make one
            decision (``Pair.whole``) it is 1 at each.
        next_ids: the token that follows in the clean prompt; -1 where none does.
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
        of_prompt: what a prompt's weighted sum of values goes through; None leaves it as it is.
    """

    name: str
    help: str
    values: ReadValues
    whole_vocabulary: bool = False
    of_prompt: Callable[[Tensor], Tensor] | None = None


def logit_difference(
    lm: LanguageModel, hidden: Float[Tensor, "reads d_model"], reads: Reads
) -> Float[Tensor, " reads"]:
    """logit(wanted) - logit(unwanted), soft-cap applied; only the tokens' unembedding rows are used.

    The logit of several tokens is that of their summed probability: log sum exp.
    """
    logits = token_logits(lm, hidden, reads.tokens)
    return _joint_logit(logits, reads.wanted) - _joint_logit(logits, reads.unwanted)


def log_prob(lm: LanguageModel, hidden: Float[Tensor, "reads d_model"], reads: Reads) -> Float[Tensor, " reads"]:
    """log P(wanted); 0 where a point wants nothing. Over the points of a continuation it adds up to its log P."""
    logits = token_logits(lm, hidden, reads.tokens)
    return _log_prob_of(logits, reads.wanted, log_normaliser(lm, hidden))


def log_prob_difference(
    lm: LanguageModel, hidden: Float[Tensor, "reads d_model"], reads: Reads
) -> Float[Tensor, " reads"]:
    """log P(wanted) - log P(unwanted), each 0 where a point has no such token.

    Over the points of two continuations it adds up to the difference of their log-probabilities. Where both are read at
    one point it is the logit difference, and costs the whole vocabulary more.
    """
    logits, total = token_logits(lm, hidden, reads.tokens), log_normaliser(lm, hidden)
    return _log_prob_of(logits, reads.wanted, total) - _log_prob_of(logits, reads.unwanted, total)


def neg_log_prob(lm: LanguageModel, hidden: Float[Tensor, "reads d_model"], reads: Reads) -> Float[Tensor, " reads"]:
    """Minus log-probability of the token that follows; at the end of a prompt, of the wanted tokens."""
    total = log_normaliser(lm, hidden)
    following = reads.next_ids.to(total.device)
    inside = single_logits(lm, hidden, following.clamp(min=0)) - total
    at_end = _log_prob_of(token_logits(lm, hidden, reads.tokens), reads.wanted, total)
    return -torch.where(following >= 0, inside, at_end)


def _joint_logit(logits: Float[Tensor, "reads tokens"], members: Bool[Tensor, "reads tokens"]) -> Tensor:
    """The logit of several tokens' summed probability: log sum exp."""
    return logits.masked_fill(~members.to(logits.device), -torch.inf).logsumexp(dim=1)


def _log_prob_of(
    logits: Float[Tensor, "reads tokens"], members: Bool[Tensor, "reads tokens"], total: Float[Tensor, " reads"]
) -> Float[Tensor, " reads"]:
    """log P of any of the tokens; 0 at points without any."""
    some = members.any(1).to(logits.device)
    # Where there is none, any tokens stand in: infinity would leave NaN in the gradient.
    members = members.to(logits.device) | ~some[:, None]
    return torch.where(some, _joint_logit(logits, members) - total.to(logits.device), 0.0)


LOGIT_DIFFERENCE = Metric("logit-difference", "logit(wanted) - logit(unwanted)", logit_difference)
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        LOGIT_DIFFERENCE,
        Metric("log-prob-difference", "log P(wanted) - log P(unwanted)", log_prob_difference, whole_vocabulary=True),
        Metric("log-prob", "log P(wanted)", log_prob, whole_vocabulary=True),
        Metric("probability", "P(wanted)", log_prob, whole_vocabulary=True, of_prompt=torch.exp),
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
        last_or_mean = shared if decision == "all" else float(nth == len(own) - 1)
        weights.append(1.0 if pairs[row].whole else last_or_mean)
    tokens = list(dict.fromkeys(token for _, _, point in points for token in (*point.wanted, *point.unwanted)))
    following = []
    for row, _, point in points:
        ids = pairs[row].clean_ids
        following.append(ids[point.position + 1] if point.position + 1 < len(ids) else -1)
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


def per_prompt(metric: Metric, reads: Reads, values: Float[Tensor, " reads"]) -> Float[Tensor, " batch"]:
    """One number per prompt: the weighted sum of its decision points, as the metric takes it."""
    total = weighted_sums(reads, values)
    return total if metric.of_prompt is None else metric.of_prompt(total)


def weighted_sums(reads: Reads, values: Float[Tensor, " reads"]) -> Float[Tensor, " batch"]:
    """Of each prompt the values at its decision points, by their weights."""
    out = values.new_zeros(reads.n_rows)
    return out.index_add(0, reads.row.to(values.device), values * reads.weight.to(values.device))


def at_partners(reads: Reads, partner: Int[Tensor, "batch pos"] | None) -> Reads:
    """The same decision points in the corrupted prompts; ``partner`` as in ``PairBatch``."""
    if partner is None:
        return reads
    return dataclasses.replace(reads, position=partner.cpu()[reads.row, reads.position])
