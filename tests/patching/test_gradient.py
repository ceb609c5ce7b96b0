"""Patching by gradient against finite differences of the patched run, and what is linear in it."""

from __future__ import annotations

import pytest
import torch

from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel
from saeattr.patching.activations import activations, parts_to_run
from saeattr.patching.components import COMPONENTS, Component
from saeattr.patching.effects import gradient_effects, make_patches
from saeattr.patching.group import PatchPlan, patch_group
from saeattr.patching.places import find_places
from saeattr.runs.batch import run_batch
from saeattr.runs.patches import patch_effects
from saeattr.runs.question import Question
from saeattr.runs.task import Task

STEP = 3e-3


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=lambda one: one.name)
def test_an_estimate_is_the_slope_of_the_exact_effect(
    lm: LanguageModel, pairs: list[Pair], component: Component
) -> None:
    """A small step towards the other run, forth and back, over twice the step."""
    batch = run_batch(lm, pairs[:2], parts_to_run([component], lm.n_layers), Question(), gradients=True)
    places = find_places(batch, "role", {})
    for layer in (1, 4):
        found = activations(batch, component, layer)
        patches = make_patches(places, component.n_heads(lm), False)
        estimates = gradient_effects(found, patches)
        difference = torch.where(found.own == found.other, 0.0, found.other - found.own)
        forth, back = (
            patch_effects(batch, found.point, patches, 32, found.own + sign * STEP * difference) for sign in (1, -1)
        )
        slopes = (forth - back) / (2 * STEP)
        assert estimates.abs().max() > 1e-3
        torch.testing.assert_close(estimates, slopes, rtol=0.05, atol=0.02)


def test_one_backward_gives_what_each_component_alone_gives(lm: LanguageModel, pairs: list[Pair]) -> None:
    names = ("resid_pre", "q", "k", "v", "scores", "pattern", "z", "attn_out", "resid_mid", "mlp_out", "resid_post")
    together = patch_group(Task(lm, pairs[:2]), PatchPlan(names, method="attribution"))
    for name in ("k", "scores", "resid_mid"):
        alone = patch_group(Task(lm, pairs[:2]), PatchPlan((name,), method="attribution"))
        own = together[together["component"] == name]["effect"].to_numpy()
        assert own == pytest.approx(alone["effect"].to_numpy(), abs=1e-5)


def test_estimates_add_up_over_heads_and_roles_which_exact_effects_need_not(
    lm: LanguageModel, pairs: list[Pair]
) -> None:
    tables = {
        by: patch_group(Task(lm, pairs[:2]), PatchPlan(("z",), by, method="attribution"))
        for by in ("role", "head", "head-role", "token")
    }
    sums = {
        by: table[~table["joint"]].groupby(["pair_id", "layer"])["effect"].sum().to_numpy()
        for by, table in tables.items()
    }
    for by in ("head", "head-role", "token"):
        assert sums[by] == pytest.approx(sums["role"], abs=1e-5)
