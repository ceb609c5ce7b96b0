"""A batch of another shape is rounded in another way: effects are against an unedited copy in the same forward."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel, load_model
from saeattr.patching.components import COMPONENTS, Part
from saeattr.recall.phases import windows
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, run_batch
from saeattr.runs.effects import Edits, exact_effects, feature_effects, total_effect
from saeattr.runs.metric import METRICS
from saeattr.runs.patches import ALL_HEADS, Patches, patch_effects
from saeattr.runs.question import Question
from saeattr.runs.unedited import forwards, with_unedited
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.sites import KINDS, Site
from saeattr.validation.joint import FeatureSet, joint_effects

SITES = [Site(kind, 2) for kind in KINDS]
MLP = [Part(COMPONENTS["mlp_out"], layer) for layer in (1, 3)]


@pytest.fixture(scope="module")
def rounded() -> LanguageModel:
    return load_model("bundled", device="cpu", dtype="bfloat16")


@contextmanager
def rounding_by_shape(lm: LanguageModel) -> Iterator[list[int]]:
    """The fourth layer's output depends on how many rows run together, as kernels chosen by shape make it; their number
    is noted. (On a CPU this model is too narrow for that to show by itself.)"""
    sizes: list[int] = []

    def blur(module: torch.nn.Module, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        sizes.append(len(hidden))
        other = hidden * (1 + (len(hidden) * 7 % 11) / 64)
        return (other, *output[1:]) if isinstance(output, tuple) else other

    handle = lm.layers[3].register_forward_hook(blur)
    try:
        yield sizes
    finally:
        handle.remove()


def effects_of_nothing(batch: BatchRuns, saes: dict[Site, SaeFile], copies: int) -> Iterator[tuple[str, Tensor]]:
    """Effects of edits that change nothing, by every way to measure one."""
    n = len(batch.pairs)
    rows = torch.arange(n).repeat(3)
    patches = Patches(rows, batch.usable[rows], torch.full_like(rows, ALL_HEADS))
    for site in SITES:
        nowhere = Edits(rows, torch.arange(3 * n), torch.full_like(rows, 5), torch.arange(3 * n), torch.zeros(3 * n))
        yield f"exact {site}", exact_effects(batch, load_sae(saes[site]), nowhere, copies)
        yield f"total {site}", total_effect(batch, site, batch.clean.x[site].float())
        yield f"of two rows {site}", total_effect(batch, site, batch.clean.x[site][:2].float(), torch.tensor([0, 1]))
        yield f"patch {site}", patch_effects(batch, site, patches, copies, batch.clean.x[site])
    files = [saes[site] for site in SITES]
    yield "together", joint_effects([batch], files, [FeatureSet(), FeatureSet()], copies).effects.flatten()
    itself = dataclasses.replace(batch, corrupted=batch.clean)
    yield "window", windows.joint_effects(itself, MLP, patches, copies)


@pytest.mark.parametrize("metric", ["logit-difference", "probability"])
def test_an_edit_that_changes_nothing_has_no_effect_at_all(
    rounded: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], metric: str
) -> None:
    with rounding_by_shape(rounded):
        batch = run_batch(rounded, pairs, [*SITES, *MLP], Question(metric=METRICS[metric]))
        for copies in (1, 4, 32):
            for name, effects in effects_of_nothing(batch, saes, copies):
                assert len(effects), name
                assert not effects.any(), f"{name} in {copies} copies: {effects}"


def test_without_unedited_copies_it_would_have_one(
    rounded: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saeattr.runs.unedited.needs_unedited", lambda batch: False)
    with rounding_by_shape(rounded):
        batch = run_batch(rounded, pairs, [*SITES, *MLP], Question())
        assert all(effects.any() for _, effects in effects_of_nothing(batch, saes, 32))


def test_a_forward_has_no_more_copies_than_asked_for(
    rounded: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    site = Site("resid_post", 2)
    sae, batch = load_sae(saes[site]), run_batch(rounded, pairs, [site], Question())
    features = sae.encode(batch.clean.x[site][batch.usable]).sum(0).topk(7).indices
    for copies in (2, 5, 16):
        with rounding_by_shape(rounded) as sizes:
            feature_effects(batch, SiteBase("corrupted", sae), features, copies)
        assert max(sizes) <= copies
        assert sum(sizes) > 7 * len(pairs)


def test_effects_in_bfloat16_come_near_to_those_in_float32(
    rounded: LanguageModel, saes: dict[Site, SaeFile], pairs: list[Pair]
) -> None:
    """With the same rounded weights; what an edited copy is rounded by itself is left (docs/accuracy.md)."""
    fine = load_model("bundled", device="cpu")
    for exact, coarse in zip(fine.hf.parameters(), rounded.hf.parameters(), strict=True):
        exact.data = coarse.data.float()
    for site in SITES:
        sae = load_sae(saes[site])
        batches = [run_batch(model, pairs, [site], Question()) for model in (fine, rounded)]
        features = sae.encode(batches[0].clean.x[site][batches[0].usable]).sum(0).topk(10).indices
        truth, found = (feature_effects(batch, SiteBase("corrupted", sae), features, 16).flatten() for batch in batches)
        assert float(torch.corrcoef(torch.stack([truth, found]))[0, 1]) > 0.9
        assert not torch.equal(truth, found)


def test_each_row_of_a_forward_has_one_unedited_copy_and_float32_has_none() -> None:
    rows = torch.tensor([3, 3, 0, 3, 1, 1, 2])
    coarse, fine = (SimpleNamespace(lm=SimpleNamespace(dtype=dtype)) for dtype in (torch.bfloat16, torch.float32))
    assert with_unedited(coarse, rows).tolist() == [*rows.tolist(), 0, 1, 2, 3]  # pyright: ignore[reportArgumentType]
    assert with_unedited(fine, rows).tolist() == rows.tolist()  # pyright: ignore[reportArgumentType]
    # Three of row 3 and one of row 0 with two beside them would be six.
    parts = [rows[part].tolist() for part in forwards(coarse, rows, 5)]  # pyright: ignore[reportArgumentType]
    assert parts == [[3, 3, 0], [3, 1, 1], [2]]
    assert [rows[part].tolist() for part in forwards(coarse, rows, 1)] == [[row] for row in rows.tolist()]  # pyright: ignore[reportArgumentType]
    parts = [rows[part].tolist() for part in forwards(fine, rows, 5)]  # pyright: ignore[reportArgumentType]
    assert parts == [[3, 3, 0, 3, 1], [1, 2]]
    assert not list(forwards(coarse, rows[:0], 5))  # pyright: ignore[reportArgumentType]
