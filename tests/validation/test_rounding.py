"""What a dtype costs exact effects: a few again in float32, layer by layer, and the line that warns."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel, load_model
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import run_batch
from saeattr.runs.effects import feature_effects
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.sites import Site
from saeattr.validation.rounding import ExactRounding, exact_warning, measure_exact_rounding


@pytest.fixture(scope="module")
def rounded() -> LanguageModel:
    return load_model("bundled", device="cpu", dtype="bfloat16")


@pytest.mark.parametrize("site", [Site("attn_z", 1), Site("resid_post", 2), Site("mlp_out", 3)], ids=str)
def test_both_are_the_exact_effects_of_a_model_in_that_dtype(
    rounded: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], site: Site
) -> None:
    """Against ordinary runs, in float32 with the same rounded weights; embeddings and angles stay rounded."""
    sae = load_sae(saes[site])
    fine = load_model("bundled", device="cpu")
    for exact, coarse in zip(fine.hf.parameters(), rounded.hf.parameters(), strict=True):
        exact.data = coarse.data.float()
    batches = [run_batch(model, pairs, [site], Question()) for model in (rounded, fine)]
    features = sae.encode(batches[1].clean.x[site][batches[1].usable]).sum(0).topk(3).indices
    expected = [feature_effects(batch, SiteBase("corrupted", sae), features, 16).T for batch in batches]
    found = [measure_exact_rounding(rounded, pair, sae, features.tolist(), Question()) for pair in pairs]
    as_run, in_float32 = (
        torch.tensor([getattr(one, name) for one in found]) for name in ("effects", "effects_float32")
    )
    torch.testing.assert_close(as_run, expected[0], rtol=1e-3, atol=1e-3)
    assert (in_float32 - expected[1]).norm() < 0.5 * (as_run - expected[1]).norm()
    assert {(one.site, one.dtype) for one in found} == {(str(site), "bfloat16")}


def test_float32_agrees_with_itself_and_the_model_is_as_before_bit_for_bit(
    lm: LanguageModel, rounded: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    sae = load_sae(saes[Site("mlp_out", 2)])
    same = measure_exact_rounding(lm, pairs[0], sae, [1, 2, 3], Question())
    assert same.effects == same.effects_float32
    before = {name: value.clone() for name, value in rounded.hf.state_dict().items()}
    measure_exact_rounding(rounded, pairs[0], sae, [1, 2, 3], Question())
    after = rounded.hf.state_dict()
    assert all(value.dtype == after[name].dtype and torch.equal(value, after[name]) for name, value in before.items())


def test_a_warning_is_one_line_with_the_numbers_and_only_where_the_change_is_large() -> None:
    small = ExactRounding("resid_post.2", "bfloat16", (1.1, -2.1, 0.4), (1.0, -2.0, 0.3))
    assert exact_warning([]) is None
    assert exact_warning([small]) is None
    large = dataclasses.replace(small, effects=(1.5, -2.4, 0.3))
    warning = exact_warning([large])
    assert warning is not None
    assert "\n" not in warning
    assert warning.startswith(
        "bfloat16 changes exact effects at resid_post.2 by 0.4, 40 % of the typical 1 (medians of 3"
    )
    assert "--dtype float32" in warning
    # One pair of three does not make it.
    assert exact_warning([small, large, small]) is None
