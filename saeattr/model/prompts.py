"""A batch of prompts, and how the model is told of it.

Several continuations of one prompt are read in one forward: [prompt, answer, wrong answer] is one row. A token sees the
prompt and what came before it in its own branch, and stands where it would stand if its branch were the only one. The
prompt is computed once, and one backward serves them all.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts, padded on the right.

    Attributes:
        mask: True at real tokens.
        branch: 0 for what a row's prompt is, 1, 2, ... for continuations of it that do not see each other: each begins
            at the position after the prompt. None where no row has more than one.
    """

    tokens: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    branch: Int[Tensor, "batch pos"] | None = None

    def take(self, rows: Int[Tensor, " rows"]) -> Prompts:
        """Some of the rows."""
        return Prompts(self.tokens[rows], self.mask[rows], None if self.branch is None else self.branch[rows])

    def above(self, other: Prompts) -> Prompts:
        """These rows and then the other's, padded to the longer."""
        width = max(self.tokens.shape[1], other.tokens.shape[1])

        def stack(first: Tensor, second: Tensor) -> Tensor:
            return torch.cat([pad(part, (0, width - part.shape[1])) for part in (first, second)])

        branches = [torch.zeros_like(one.tokens) if one.branch is None else one.branch for one in (self, other)]
        alone = self.branch is None and other.branch is None
        return Prompts(
            stack(self.tokens, other.tokens), stack(self.mask, other.mask), None if alone else stack(*branches)
        )


def check_ids(lm: LanguageModel, tokens: Int[Tensor, "batch pos"]) -> None:
    """Refuse ids that the model has no embedding for; those made on another device are the model's own.

    Raises:
        UserError: the tokenizer is of another model.
    """
    embedding: Any = lm.hf.get_input_embeddings()
    if tokens.device.type == "cpu" and tokens.numel() and int(tokens.max()) >= (rows := embedding.weight.shape[0]):
        raise UserError(
            f"the tokenizer makes the token {int(tokens.max())}, and {lm.name} has {rows} embeddings: use its own"
        )


def branch_positions(branch: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
    """Where each token stands in its own text: behind the prompt (branch 0) and what is before it in its branch."""
    index = torch.arange(branch.shape[1], device=branch.device).expand_as(branch)
    earlier = index[:, None, :] < index[:, :, None]
    seen = earlier & ((branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None]))
    return seen.sum(2)


def model_inputs(lm: LanguageModel, prompts: Prompts) -> dict[str, Any]:
    """The arguments of the model's forward: token ids and what each of them sees.

    Raises:
        UserError: a token is none of the model's, or the model takes no position ids, so that branches cannot begin at
            the same place.
    """
    check_ids(lm, prompts.tokens)
    inputs: dict[str, Any] = {"input_ids": prompts.tokens.to(lm.device)}
    if prompts.branch is None:
        return {**inputs, "attention_mask": prompts.mask.to(lm.device).long()}
    if "position_ids" not in inspect.signature(type(lm.hf.base_model).forward).parameters:
        raise UserError(
            f"{lm.name} takes no positions, so two continuations cannot be read at once: use a metric of one "
            "continuation (--metric log-prob), or another model"
        )
    branch, mask = prompts.branch.to(lm.device), prompts.mask.to(lm.device)
    position = branch_positions(branch)
    index = torch.arange(branch.shape[1], device=lm.device)
    own = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    seen = own & (index[None, :] <= index[:, None]) & mask[:, None, :]
    config = lm.hf.config.get_text_config()
    kinds, window = getattr(config, "layer_types", None) or (), getattr(config, "sliding_window", None)
    # As in transformers: a query of a sliding layer sees so many tokens, itself included.
    near = seen if window is None else seen & (position[:, :, None] - position[:, None, :] < window)

    def additive(allowed: Tensor) -> Tensor:
        return torch.where(allowed, 0.0, torch.finfo(lm.dtype).min).to(lm.dtype)[:, None]

    if "sliding_attention" in kinds:
        masks: Any = {"full_attention": additive(seen), "sliding_attention": additive(near)}
    else:
        masks = additive(seen if kinds else near)
    return {**inputs, "attention_mask": masks, "position_ids": position}
