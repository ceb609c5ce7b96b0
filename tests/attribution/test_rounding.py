"""What a dtype costs: one pair again in float32, layer by layer, and the line that warns."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from saeattr.attribution.group import attribute_batch
from saeattr.attribution.rounding import LARGE, dtype_warning, measure_rounding
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel, load_model
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import run_batch
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.sites import Site


@pytest.fixture(scope="module")
def rounded() -> LanguageModel:
    return load_model("bundled", device="cpu", dtype="bfloat16")


@pytest.mark.parametrize("site", [Site("attn_z", 1), Site("resid_post", 3), Site("mlp_out", 5)], ids=str)
def test_float32_costs_nothing_and_bfloat16_little_but_something(
    lm: LanguageModel, rounded: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], site: Site
) -> None:
    sae = load_sae(saes[site])
    same, other = (measure_rounding(one, pairs[0], sae, Question()) for one in (lm, rounded))
    assert same.difference < 1e-5
    assert same.metric == pytest.approx(same.metric_float32, abs=1e-4)
    assert (same.dtype, other.dtype) == ("float32", "bfloat16")
    assert 1e-4 < other.difference < 0.3
    assert other.correlation > 0.98


def test_layer_by_layer_comes_near_to_the_model_in_float32(
    lm: LanguageModel, rounded: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    """With the rounded weights in both: only embeddings and rotary angles are left of the rounding."""
    site = Site("resid_post", 2)
    sae = load_sae(saes[site])
    weights = load_model("bundled", device="cpu")
    for exact, coarse in zip(weights.hf.parameters(), rounded.hf.parameters(), strict=True):
        exact.data = coarse.data.float()
    truth = run_batch(weights, pairs, [site], Question()).clean.metric
    assert truth is not None
    found = [measure_rounding(rounded, pair, sae, Question()) for pair in pairs]
    left = (torch.tensor([one.metric_float32 for one in found]) - truth).abs().mean()
    coarse_error = (torch.tensor([one.metric for one in found]) - truth).abs().mean()
    assert left < 0.5 * coarse_error


def test_a_difference_is_that_of_attribution_patching_in_both_dtypes(
    rounded: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    """The run's own effects are those of an ordinary attribution of the pair with the corrupted base."""
    sae = load_sae(saes[Site("resid_post", 5)])
    found = measure_rounding(rounded, pairs[1], sae, Question())
    by_hand = []
    weights = load_model("bundled", device="cpu")
    for exact, coarse in zip(weights.hf.parameters(), rounded.hf.parameters(), strict=True):
        exact.data = coarse.data.float()
    for model in (rounded, weights):
        batch = run_batch(model, pairs[1:2], [sae.site], Question())
        one = attribute_batch(SiteBase.of(sae, [batch]), batch, 16).found
        by_hand.append(torch.zeros(sae.d_sae).index_add(0, one.feature, one.effect))
    difference = float((by_hand[0] - by_hand[1]).norm() / by_hand[1].norm())
    assert found.difference == pytest.approx(difference, rel=0.5)


def test_the_model_is_as_before_bit_for_bit(
    rounded: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    before = {name: value.clone() for name, value in rounded.hf.state_dict().items()}
    measure_rounding(rounded, pairs[0], load_sae(saes[Site("attn_z", 4)]), Question())
    after = rounded.hf.state_dict()
    assert all(value.dtype == after[name].dtype and torch.equal(value, after[name]) for name, value in before.items())


def test_a_warning_is_one_line_with_the_numbers_and_only_where_it_is_large(
    rounded: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    found = measure_rounding(rounded, pairs[0], load_sae(saes[Site("resid_post", 5)]), Question())
    small, large = (dataclasses.replace(found, difference=value) for value in (LARGE, 0.42))
    assert dtype_warning([small]) is None
    assert dtype_warning([small, large, small]) is None
    warning = dtype_warning([large, small, large])
    assert warning is not None
    assert "\n" not in warning
    assert warning.startswith("bfloat16 changes attributions at resid_post.5 by 42 % (median of 3 pairs")
    assert "--dtype float32" in warning
