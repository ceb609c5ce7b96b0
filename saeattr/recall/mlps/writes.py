"""What every part of a model writes to the residual stream at the final position, fact by fact.

Before the MLP of layer l the stream is a sum: the embedding, every head of layers 0 to l, every earlier MLP, and what
the output weights' biases add, which is the same for every fact. These summands are what a regression of the MLP's
output is made of (``recall.mlps.fits``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.behaviours.pair import Pair, chunks, pad_pairs
from saeattr.model.direct import head_outputs
from saeattr.model.loading import LanguageModel
from saeattr.patching.components import ATTN_OUT, COMPONENTS, RESID_PRE, Part, Z, lacking
from saeattr.recall.facts.check import entity_positions
from saeattr.runs.lens import residuals_at
from saeattr.runs.task import Task

MLP_OUT, RESID_POST = COMPONENTS["mlp_out"], COMPONENTS["resid_post"]
#: What is read in every layer.
READ = (RESID_PRE, Z, ATTN_OUT, MLP_OUT)

#: Kinds of summands.
EMBEDDING, HEAD, MLP = "embedding", "head", "mlp"


@dataclass(frozen=True)
class Source:
    """A summand of the stream: ``layer`` is -1 for the embedding, ``head`` -1 for what is no head."""

    kind: str
    layer: int = -1
    head: int = -1


@dataclass(frozen=True)
class Writes:
    """What is written at the final position of every fact's clean prompt, float32 on the CPU.

    Attributes:
        embedding: what enters layer 0.
        heads: what each head adds to the stream, without the output weights' bias.
        mlps: what each MLP adds to it.
        mids: the stream before each MLP; final: after the last layer.
    """

    pairs: Sequence[Pair]
    embedding: Float[Tensor, "facts d_model"]
    heads: Float[Tensor, "facts layers heads d_model"]
    mlps: Float[Tensor, "facts layers d_model"]
    mids: Float[Tensor, "facts layers d_model"]
    final: Float[Tensor, "facts d_model"]

    @property
    def entity(self) -> list[int]:
        """Of each fact the first token of the entity, as the prompt has it."""
        return [pair.clean_ids[entity_positions(pair)[0]] for pair in self.pairs]

    @property
    def answer(self) -> list[int]:
        """Of each fact the right answer."""
        return [pair.points[0].wanted[0] for pair in self.pairs]

    def sources(self, layer: int) -> list[Source]:
        """The summands of the stream before a layer's MLP, in the order of ``stacked``."""
        heads = [Source(HEAD, at, head) for at in range(layer + 1) for head in range(self.heads.shape[2])]
        return [Source(EMBEDDING), *heads, *(Source(MLP, at) for at in range(layer))]

    def stacked(self, layer: int) -> Float[Tensor, "facts sources d_model"]:
        """These summands: with the biases, their sum is ``mids`` of the layer."""
        heads = self.heads[:, : layer + 1].flatten(1, 2)
        return torch.cat([self.embedding[:, None], heads, self.mlps[:, :layer]], dim=1)


def lacks_writes(lm: LanguageModel) -> str:
    """Why a model's writes cannot be told apart; blank where they can."""
    return next((why for one in (*READ, COMPONENTS["resid_mid"]) if (why := lacking(one, lm))), "")


def final_writes(task: Task) -> Writes:
    """One forward of every fact's clean prompt, of which the final position is kept."""
    lm = task.lm
    n_heads = Z.n_heads(lm)
    names = [Part(one, layer).hook_name for layer in range(lm.n_layers) for one in READ]
    names.append(Part(RESID_POST, lm.n_layers - 1).hook_name)
    parts: list[Writes] = []
    for done, chunk in enumerate(chunks(task.pairs, task.pace.batch_size)):
        task.on_step("what is written", done * task.pace.batch_size, len(task.pairs))
        prompts = pad_pairs(chunk, lm.pad_id, lm.device).clean
        positions = torch.tensor([pair.points[0].position for pair in chunk])
        kept = residuals_at(lm, prompts, torch.arange(len(chunk)), positions, names)
        parts.append(_writes(lm, chunk, kept, n_heads))
    task.on_step("what is written", len(task.pairs), len(task.pairs))
    fields = [one.name for one in dataclasses.fields(Writes) if one.name != "pairs"]
    return Writes(list(task.pairs), **{name: torch.cat([getattr(part, name) for part in parts]) for name in fields})


def _writes(lm: LanguageModel, pairs: Sequence[Pair], kept: dict[str, Tensor], n_heads: int) -> Writes:
    """Of one batch, from what stood at the hooks."""
    layers = range(lm.n_layers)

    def at(component: str, layer: int) -> Tensor:
        return kept[Part(COMPONENTS[component], layer).hook_name].flatten(1)

    heads = [head_outputs(lm, layer, at("z", layer), n_heads).cpu() for layer in layers]
    mids = [at("resid_pre", layer).float().cpu() + at("attn_out", layer).float().cpu() for layer in layers]
    return Writes(
        pairs,
        at("resid_pre", 0).float().cpu(),
        torch.stack(heads, dim=1),
        torch.stack([at("mlp_out", layer).float().cpu() for layer in layers], dim=1),
        torch.stack(mids, dim=1),
        at("resid_post", lm.n_layers - 1).float().cpu(),
    )
