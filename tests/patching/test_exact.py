"""Exact patching against full forwards with the bridge's own hooks, and against transformer-lens' generic patching."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import transformer_lens.patching as theirs
from torch import Tensor

from saeattr.behaviours.pair import Pair, swap_prompts
from saeattr.model.loading import LanguageModel
from saeattr.patching.components import COMPONENTS, Component
from saeattr.patching.group import PatchPlan, patch_group
from saeattr.patching.places import EVERYWHERE
from saeattr.runs.task import Task
from tests.model.toys import FAMILIES, make_toy
from tests.patching.toy_pairs import toy_pairs

#: All but resid_mid, which has no hook of its own to compare with.
HOOKED = [one for one in COMPONENTS.values() if not one.adds]


def values_of(lm: LanguageModel, ids: tuple[int, ...], name: str) -> Tensor:
    """The activation at a hook, in the hook's own layout."""
    seen: list[Tensor] = []
    with torch.no_grad(), lm.bridge.hooks(fwd_hooks=[(name, lambda x, hook: seen.append(x.clone()))]):  # pyright: ignore[reportArgumentType]
        lm.hf(input_ids=torch.tensor([ids]))
    return seen[0]


def logit_difference(lm: LanguageModel, pair: Pair, hooks: list[tuple[str, Callable[..., Tensor]]]) -> float:
    """The metric from the model's own full logits, with hooks in place."""
    (point,) = pair.points[-1:]
    with torch.no_grad(), lm.bridge.hooks(fwd_hooks=hooks):  # pyright: ignore[reportArgumentType]
        logits = lm.hf(input_ids=torch.tensor([pair.clean_ids])).logits[0, point.position]
    return float(logits[list(point.wanted)].sum() - logits[list(point.unwanted)].sum())


def naive(lm: LanguageModel, pair: Pair, row: dict[str, Any], component: Component, at: list[int]) -> float:
    """The change of the metric when the whole model runs again with the other prompt's activation at some positions."""
    assert pair.corrupted_ids is not None
    name = f"blocks.{row['layer']}.{component.hook}"
    other = values_of(lm, pair.corrupted_ids, name)
    heads = slice(None) if row["head"] < 0 else row["head"]

    def put(x: Tensor, hook: Any) -> Tensor:
        x = x.clone()
        for position in at:
            if component.keys_last:
                x[:, heads, position] = other[:, heads, position]
            elif component.heads == "none":
                x[:, position] = other[:, position]
            else:
                x[:, position, heads] = other[:, position, heads]
        return x

    return logit_difference(lm, pair, [(name, put)]) - logit_difference(lm, pair, [])


def positions(pair: Pair, place: str) -> list[int]:
    """Those of a role, with ``decision`` where the metric is read."""
    read = pair.points[-1].position
    roles = ["decision" if at == read else role for at, role in enumerate(pair.roles)]
    return [at for at, role in enumerate(roles) if place in (role, EVERYWHERE)]


def check(lm: LanguageModel, pairs: list[Pair], found: pd.DataFrame, every: int, tolerance: float) -> None:
    by_id = {pair.pair_id: pair for pair in pairs}
    for row in found.iloc[::every].to_dict("records"):
        pair = by_id[row["pair_id"]]
        expected = naive(lm, pair, row, COMPONENTS[row["component"]], positions(pair, row["place"]))  # pyright: ignore[reportArgumentType]
        assert row["effect"] == pytest.approx(expected, abs=tolerance), row


@pytest.mark.parametrize("family", FAMILIES)
def test_every_component_of_every_family_equals_a_full_forward(family: str, tmp_path: Path) -> None:
    """Grouped queries, norms behind attention, soft-caps and sliding windows among them."""
    lm, _ = make_toy(family, tmp_path)
    pairs = toy_pairs((9, 12))
    for component in HOOKED:
        by = "role" if component.heads == "none" else "head-role"
        found = patch_group(Task(lm, pairs), PatchPlan((component.name,), by))
        assert found["effect"].abs().max() > 1e-3, component.name
        assert set(found["layer"]) == {0, 1, 2}
        check(lm, pairs, found, 5, 2e-5)


@pytest.mark.parametrize("component", HOOKED, ids=lambda one: one.name)
def test_on_the_bundled_model_too_in_both_directions(
    lm: LanguageModel, pairs: list[Pair], component: Component
) -> None:
    own = pairs[:2]
    for direction, used in (("noising", own), ("denoising", [swap_prompts(pair) for pair in own])):
        found = patch_group(Task(lm, own), PatchPlan((component.name,), "role", direction))  # pyright: ignore[reportArgumentType]
        check(lm, used, found[~found["joint"]], 11, 1e-4)


def test_behind_attention_positions_are_alone_so_resid_mid_is_as_good_as_resid_post(
    lm: LanguageModel, pairs: list[Pair]
) -> None:
    mid, post = (patch_group(Task(lm, pairs[:2]), PatchPlan((name,))) for name in ("resid_mid", "resid_post"))
    assert mid.drop(columns=["component", "effect"]).equals(post.drop(columns=["component", "effect"]))
    assert mid["effect"].to_numpy() == pytest.approx(post["effect"].to_numpy(), abs=1e-4)
    assert mid["effect"].abs().max() > 1


def test_it_equals_transformer_lens_generic_patching(lm: LanguageModel, pairs: list[Pair]) -> None:
    """Its first argument is the run that is patched, its cache the other one's."""
    pair = pairs[0]
    (point,) = pair.points[-1:]
    recipient = torch.tensor([pair.clean_ids])
    _, cache = lm.bridge.run_with_cache(torch.tensor([pair.corrupted_ids]))

    def metric(logits: Tensor) -> Tensor:
        return logits[0, point.position, point.wanted[0]] - logits[0, point.position, point.unwanted[0]]

    before = metric(lm.bridge(recipient)).item()
    n_heads = {"query": 4, "key-value": 2}
    for name, setter, axes in (
        ("resid_pre", theirs.layer_pos_patch_setter, ("layer", "pos")),
        ("attn_out", theirs.layer_pos_patch_setter, ("layer", "pos")),
        ("mlp_out", theirs.layer_pos_patch_setter, ("layer", "pos")),
        ("z", theirs.layer_head_vector_patch_setter, ("layer", "head")),
        ("q", theirs.layer_head_vector_patch_setter, ("layer", "head")),
        ("k", theirs.layer_head_vector_patch_setter, ("layer", "head")),
        ("v", theirs.layer_head_vector_patch_setter, ("layer", "head")),
        ("pattern", theirs.layer_head_pattern_patch_setter, ("layer", "head")),
    ):
        by = "token" if axes[1] == "pos" else "head"
        ours = patch_group(Task(lm, [pair]), PatchPlan((name,), by))
        second = "position" if by == "token" else "head"
        # Some positions of two layers: it runs the whole model for each.
        which = [(2, at) for at in (12, 14, 16, point.position)] if by == "token" else None
        which = which or [(layer, head) for layer in (1, 3) for head in range(n_heads[COMPONENTS[name].heads])]
        wanted: Any = pd.DataFrame(which, columns=list(axes))
        model: Any = lm.bridge
        with torch.no_grad():
            patched = theirs.generic_activation_patch(model, recipient, cache, metric, setter, name, index_df=wanted)
        effects = ours.set_index(["layer", second])["effect"]
        for (layer, at), value in zip(which, patched.tolist(), strict=True):
            # Positions without a row are those before the word.
            assert float(effects.get((layer, at), 0.0)) == pytest.approx(value - before, abs=1e-4), (name, layer, at)


def test_the_size_of_batches_changes_nothing(lm: LanguageModel, pairs: list[Pair]) -> None:
    from saeattr.runs.question import Pace

    plan = PatchPlan(("pattern",), "head-role")
    many, few = (patch_group(Task(lm, pairs, pace=pace), plan) for pace in (Pace(), Pace(batch_size=2, copies=3)))
    key = ["pair_id", "layer", "head", "place"]
    both = many.merge(few, on=key, suffixes=("", "_few"))
    assert len(both) == len(many) == len(few)
    assert (both["effect"] - both["effect_few"]).abs().max() < 1e-4
