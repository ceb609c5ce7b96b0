"""What is written at the final position: the summands of the stream, head by head, against the plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from saeattr.behaviours.pair import Pair, Point
from saeattr.recall.mlps.writes import HEAD, MLP, Writes, final_writes
from saeattr.runs.task import Task
from tests.model.toys import FAMILIES, make_toy


def pairs() -> list[Pair]:
    """Facts of unequal length, read before their last token in one of them."""
    generator = torch.Generator().manual_seed(2)
    made = []
    for at, size in enumerate((9, 12, 7)):
        clean, other = (torch.randint(3, 64, (size,), generator=generator).tolist() for _ in range(2))
        corrupted = (*clean[:2], other[2], *clean[3:])
        roles = ("bos", "common", "entity", *["after"] * (size - 3))
        point = Point(size - 1 - (at == 1), (5,), (6,))
        made.append(Pair("facts", f"fact {at}", "", tuple(clean), corrupted, (point,), roles))
    return made


def toy_writes(family: str, folder: Path) -> tuple[Writes, PreTrainedModel]:
    lm, plain = make_toy(family, folder)
    return final_writes(Task(lm, pairs())), plain


@pytest.mark.parametrize("family", FAMILIES)
def test_the_summands_and_the_biases_are_the_stream_before_the_mlp(family: str, tmp_path: Path) -> None:
    found, plain = toy_writes(family, tmp_path)
    for layer in range(3):
        assert found.stacked(layer).shape[1] == len(found.sources(layer)) == 1 + 4 * (layer + 1) + layer
        # What the biases add is the same for every fact.
        rest = found.mids[:, layer] - found.stacked(layer).sum(1)
        torch.testing.assert_close(rest, rest[:1].expand_as(rest), atol=1e-4, rtol=1e-4)
        if family != "gpt2":
            torch.testing.assert_close(rest, torch.zeros_like(rest), atol=1e-4, rtol=1e-4)
    for at, pair in enumerate(pairs()):
        with torch.no_grad():
            hidden = plain(torch.tensor([pair.clean_ids]), output_hidden_states=True).hidden_states
        position = pair.points[0].position
        torch.testing.assert_close(found.embedding[at], hidden[0][0, position], atol=1e-5, rtol=1e-5)
        for layer in range(2):
            after = found.mids[at, layer] + found.mlps[at, layer]
            torch.testing.assert_close(after, hidden[layer + 1][0, position], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "llama"])
def test_a_head_is_its_slice_of_the_output_weights_in_the_scale_of_their_sum(family: str, tmp_path: Path) -> None:
    found, plain = toy_writes(family, tmp_path)
    layers: Any = plain.model.layers
    kept: dict[int, torch.Tensor] = {}
    for layer, block in enumerate(layers):
        block.self_attn.o_proj.register_forward_pre_hook(lambda _, args, layer=layer: kept.update({layer: args[0]}))
    for at, pair in enumerate(pairs()):
        with torch.no_grad():
            plain(torch.tensor([pair.clean_ids]))
        for layer, block in enumerate(layers):
            z, weight = kept[layer][0, pair.points[0].position], block.self_attn.o_proj.weight
            heads = torch.stack([weight[:, 8 * head : 8 * head + 8] @ z[8 * head : 8 * head + 8] for head in range(4)])
            if family != "llama":
                norm = block.post_attention_layernorm
                scale = (heads.sum(0).square().mean() + norm.eps).rsqrt()
                heads = heads * scale * (1 + norm.weight)
            torch.testing.assert_close(found.heads[at, layer], heads, atol=1e-5, rtol=1e-4)


def test_sources_are_named_in_the_order_in_which_they_are_stacked(tmp_path: Path) -> None:
    found, _ = toy_writes("llama", tmp_path)
    sources = found.sources(2)
    for at, source in enumerate(sources):
        own = found.embedding
        if source.kind == HEAD:
            own = found.heads[:, source.layer, source.head]
        elif source.kind == MLP:
            own = found.mlps[:, source.layer]
        assert (found.stacked(2)[:, at] == own).all()
    assert found.entity == [pair.clean_ids[2] for pair in pairs()]
    assert found.answer == [5, 5, 5]
