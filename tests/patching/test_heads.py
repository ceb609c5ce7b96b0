"""Direct paths of heads against the same written out with the plain model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.patching.group import PatchPlan, patch_group
from saeattr.patching.heads import head_moves, head_summary
from saeattr.runs.task import Task
from tests.model.toys import FAMILIES, make_toy
from tests.patching.toy_pairs import toy_pairs


def seen_in(model: Any, ids: tuple[int, ...]) -> dict[str, Any]:
    """What the plain Gemma 2 has in each layer: patterns, values, what heads read, and what norms are given."""
    seen: dict[str, Any] = {"v": [], "z": [], "post": []}
    handles = [model.model.norm.register_forward_pre_hook(lambda m, args: seen.update(final=args[0][0]))]
    for layer in model.model.layers:
        attention = layer.self_attn
        handles += [
            attention.v_proj.register_forward_hook(lambda m, args, out: seen["v"].append(out[0])),
            attention.o_proj.register_forward_pre_hook(lambda m, args: seen["z"].append(args[0][0])),
            layer.post_attention_layernorm.register_forward_pre_hook(lambda m, args: seen["post"].append(args[0][0])),
        ]
    with torch.no_grad():
        seen["patterns"] = model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    for handle in handles:
        handle.remove()
    return seen


def written_out(model: Any, pair: Pair, layer: int, head: int) -> tuple[float, float]:
    """The head's direct effect and its OV part, by the formula of each module on the way."""
    point, config = pair.points[-1], model.config
    runs = [seen_in(model, ids) for ids in (pair.clean_ids, pair.corrupted_ids or ())]
    width, at = config.head_dim, point.position
    own = slice(head * width, (head + 1) * width)
    kv = head // (config.num_attention_heads // config.num_key_value_heads)
    values = slice(kv * width, (kv + 1) * width)
    changed = list(pair.changed_positions)
    read = [run["patterns"][layer][0, head, at, changed] @ run["v"][layer][changed][:, values] for run in runs]
    moves = (runs[1]["z"][layer][at, own] - runs[0]["z"][layer][at, own], read[1] - read[0])
    attention = model.model.layers[layer]
    unembed = model.lm_head.weight
    direction = unembed[list(point.wanted)].sum(0) - unembed[list(point.unwanted)].sum(0)
    final = runs[0]["final"][at]
    held = (1 + model.model.norm.weight) / (final.square().mean() + config.rms_norm_eps).sqrt()
    before = runs[0]["post"][layer][at]
    scale = (before.square().mean() + config.rms_norm_eps).sqrt()
    behind = (1 + attention.post_attention_layernorm.weight) / scale
    effects = []
    for move in moves:
        stream = behind * (attention.self_attn.o_proj.weight[:, own] @ move)
        effects.append(float(_capped_slopes(model, held * final, point) @ (unembed @ (held * stream))[_tokens(point)]))
    assert direction.shape == final.shape
    return effects[0], effects[1]


def _tokens(point: Any) -> list[int]:
    return [*point.wanted, *point.unwanted]


def _capped_slopes(model: Any, normed: torch.Tensor, point: Any) -> torch.Tensor:
    """d metric / d logit before the soft-cap, of the tokens contrasted."""
    logits = (model.lm_head.weight @ normed)[_tokens(point)]
    cap = model.config.final_logit_softcapping
    slope = 1 - torch.tanh(logits / cap).square() if cap else torch.ones_like(logits)
    return slope * torch.tensor([1.0, -1.0])


def test_direct_and_ov_effects_equal_the_formula(lm: LanguageModel, pairs: list[Pair], plain_model: Any) -> None:
    pair = pairs[0]
    found = head_moves(Task(lm, [pair])).set_index(["layer", "head"])
    with torch.no_grad():
        for layer, head in ((1, 2), (1, 3), (2, 2), (4, 0), (5, 1)):
            direct, ov = written_out(plain_model, pair, layer, head)
            row = found.loc[(layer, head)]
            assert float(row["direct_effect"]) == pytest.approx(direct, abs=1e-4)
            assert float(row["ov_effect"]) == pytest.approx(ov, abs=1e-4)
    assert found["ov_effect"].abs().max() > 0.1


def test_attention_is_that_of_the_plain_model(lm: LanguageModel, pairs: list[Pair], plain_model: Any) -> None:
    pair = pairs[0]
    found = head_moves(Task(lm, [pair])).set_index(["layer", "head"])
    for run, ids in (("clean", pair.clean_ids), ("corrupted", pair.corrupted_ids or ())):
        with torch.no_grad():
            patterns = plain_model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
        for (layer, head), row in found.iterrows():  # pyright: ignore[reportGeneralTypeIssues]
            expected = patterns[layer][0, head, pair.points[-1].position, list(pair.changed_positions)].sum()
            assert float(row[f"attention_{run}"]) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_of_every_family_read_their_groups_values(family: str, tmp_path: Path) -> None:
    lm, _ = make_toy(family, tmp_path)
    found = head_moves(Task(lm, toy_pairs((9, 12))))
    assert set(found["head"]) == set(range(4))
    grouped = family != "gpt2"
    assert found[found["head"] == 3]["kv_head"].eq(1 if grouped else 3).all()
    assert found[["ov_effect", "direct_effect", "exact_effect"]].abs().max().min() > 1e-3


def test_the_exact_effect_is_that_of_patching_z_at_the_decision(lm: LanguageModel, pairs: list[Pair]) -> None:
    task = Task(lm, pairs[:2])
    patched = patch_group(task, PatchPlan(("z",), "head-role"))
    at_decision = patched[patched["place"] == "decision"].set_index(["pair_id", "layer", "head"])["effect"]
    moves = head_moves(task).set_index(["pair_id", "layer", "head"])["exact_effect"]
    assert (at_decision - moves).abs().max() < 1e-4
    assert len(at_decision) == len(moves)


def test_a_summary_has_the_strongest_head_first_as_shares_of_the_gap(lm: LanguageModel, pairs: list[Pair]) -> None:
    table = head_moves(Task(lm, pairs))
    heads = head_summary(table)
    assert heads["exact"].abs().is_monotonic_decreasing
    first = heads.iloc[0]
    own = table[(table["layer"] == first["layer"]) & (table["head"] == first["head"])]
    gap = (own["corrupted"] - own["clean"]).mean()
    assert float(first["exact"]) == pytest.approx(float(own["exact_effect"].mean() / gap))
    assert first["exact_low"] < first["exact"] < first["exact_high"]
