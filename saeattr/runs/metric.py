"""The scalar a study explains: which two tokens it contrasts, and where in a pair it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel
from saeattr.model.unembed import full_logits, token_logits
from saeattr.behaviours.lists.parsing import ListMarkers
from saeattr.behaviours.pair import Pair

Decision = Literal["last", "all"]
METRICS = ("end-vs-continue", "blank-vs-newline", "neg-log-prob")


@dataclass(frozen=True)
class Metric:
    """A number read from the logits at one position.

    Attributes:
        name: as written on the command line.
        label: for figures.
        plus, minus: token ids; the value is logit(plus) - logit(minus). None: minus log-probability of the token
            that follows.
        at: read at the newline after an item, or at the last token of an item.
    """

    name: str
    label: str
    plus: int | None
    minus: int | None
    at: Literal["newline", "item"]

    def positions(self, pair: Pair) -> tuple[int, ...]:
        """Where the metric is read in a pair, one position for each complete item (that has a next token)."""
        points = pair.decision_positions if self.at == "newline" else pair.item_positions
        return tuple(point for point in points if point + 1 < len(pair.clean_ids))

    def values(
        self, lm: LanguageModel, hidden: Float[Tensor, "reads d_model"], next_ids: Int[Tensor, " reads"]
    ) -> Float[Tensor, " reads"]:
        """The metric in float32, soft-cap applied; only the rows of the unembedding that it needs are used."""
        if self.plus is None or self.minus is None:
            log_probs = torch.log_softmax(full_logits(lm, hidden), dim=-1)
            return -log_probs.gather(1, next_ids.to(hidden.device)[:, None])[:, 0]
        logits = token_logits(lm, hidden, torch.tensor([self.plus, self.minus]))
        return logits[:, 0] - logits[:, 1]


def make_metric(name: str, tokenizer: PreTrainedTokenizerBase, contrast: tuple[str, str] | None = None) -> Metric:
    """Resolve a metric's name to token ids of this tokenizer.

    Raises:
        UserError: there is no such metric, or a token of ``contrast`` is not exactly one token.
    """
    if contrast is not None:
        plus, minus = (single_token(tokenizer, text) for text in contrast)
        if plus == minus:
            raise UserError(f"--contrast needs two different tokens, got {contrast[0]!r} twice")
        label = f"logit({contrast[0]!r}) - logit({contrast[1]!r})"
        return Metric("contrast", label, plus, minus, "newline")
    markers = ListMarkers.from_tokenizer(tokenizer)
    if name == "end-vs-continue":
        label = "logit(<end_of_turn>) - logit(-)"
        return Metric(name, label, markers.end_of_turn, markers.hyphen, "newline")
    if name == "blank-vs-newline":
        return Metric(name, "logit(blank) - logit(newline)", markers.blank, markers.newline, "item")
    if name == "neg-log-prob":
        return Metric(name, "minus log-probability of the next token", None, None, "newline")
    raise UserError(f"{name!r} is not a metric: choose one of {', '.join(METRICS)}, or --contrast TOKEN_A TOKEN_B")


def single_token(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    r"""The id of a text that is one token; ``\n`` may be written with a backslash.

    Raises:
        UserError: it is no token, or several.
    """
    text = text.replace("\\n", "\n")
    ids = tokenizer.encode(text, add_special_tokens=False)
    unknown = tokenizer.unk_token_id
    if len(ids) != 1 or (ids[0] == unknown and text != tokenizer.unk_token):
        found = "unknown to" if ids == [unknown] else f"{len(ids)} tokens in"
        raise UserError(
            f"{text!r} is {found} this tokenizer: a metric token must be exactly one token "
            "(a word inside a text usually starts with a blank, as in ' Paris')"
        )
    return int(ids[0])


@dataclass(frozen=True)
class Reads:
    """Where a batch's metric is read: one entry for each decision point of each row.

    ``weight`` sums to 1 in each row: 1 at the last point (``last``), or equal parts (``all``).
    """

    row: Int[Tensor, " reads"]
    position: Int[Tensor, " reads"]
    item: Int[Tensor, " reads"]
    weight: Float[Tensor, " reads"]
    next_ids: Int[Tensor, " reads"]

    @property
    def n_rows(self) -> int:
        return int(self.row[-1]) + 1

    def last_position(self) -> Int[Tensor, " batch"]:
        """The last position of each row that the metric depends on."""
        used = torch.where(self.weight > 0, self.position, 0)
        return torch.zeros(self.n_rows, dtype=torch.long).scatter_reduce(0, self.row, used, "amax")


def plan_reads(metric: Metric, pairs: list[Pair], decision: Decision = "last") -> Reads:
    """List the decision points of a batch of pairs, in row order; every pair must have one."""
    rows, positions, items, weights, next_ids = [], [], [], [], []
    for row, pair in enumerate(pairs):
        points = metric.positions(pair)
        for item, position in enumerate(points, 1):
            rows.append(row)
            positions.append(position)
            items.append(item)
            is_last = item == len(points)
            weights.append(1.0 / len(points) if decision == "all" else float(is_last))
            next_ids.append(pair.clean_ids[position + 1])
    as_ids = [torch.tensor(values, dtype=torch.long) for values in (rows, positions, items, next_ids)]
    return Reads(as_ids[0], as_ids[1], as_ids[2], torch.tensor(weights), as_ids[3])


def read_values(
    lm: LanguageModel, metric: Metric, reads: Reads, hidden: Float[Tensor, "batch pos d_model"]
) -> Float[Tensor, " reads"]:
    """The metric at every decision point of the batch."""
    # Two index tensors gather to two dimensions first: on CPU a strided slice in bf16 is far slower to multiply.
    picked = hidden[reads.row.to(hidden.device), reads.position.to(hidden.device)]
    return metric.values(lm, picked, reads.next_ids)


def per_prompt(reads: Reads, values: Float[Tensor, " reads"]) -> Float[Tensor, " batch"]:
    """One number per prompt: the weighted sum of its decision points."""
    out = values.new_zeros(reads.n_rows)
    return out.index_add(0, reads.row.to(values.device), values * reads.weight.to(values.device))
