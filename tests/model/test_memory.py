"""The rehearsal on meta tensors counts what the real run makes."""

from __future__ import annotations

import pytest
import torch

from saeattr import bundle
from saeattr.model.capture import capture
from saeattr.model.loading import LanguageModel
from saeattr.model.memory import LiveBytes, meta_model, rehearse
from saeattr.model.prompts import Prompts
from saeattr.sites import KINDS, Site

SITES = [Site(kind, layer) for layer in range(6) for kind in KINDS]


@pytest.fixture(scope="module")
def meta() -> LanguageModel:
    return meta_model(bundle.MODEL_FOLDER)


def test_the_weights_are_those_of_the_file(meta: LanguageModel) -> None:
    found = rehearse(meta, SITES, 1, 10)
    stored = (bundle.MODEL_FOLDER / "model.safetensors").stat().st_size
    assert found.weights == pytest.approx(stored, rel=0.01)


def test_captured_runs_are_counted(meta: LanguageModel) -> None:
    """x twice (clean and corrupted) and g; g of mlp_out and resid_post is one tensor, and so are x and layer inputs."""
    batch, length = 3, 40
    found = rehearse(meta, SITES, batch, length)
    at_sites = 3 * len(SITES) * batch * length * 128 * 4
    assert 0.88 * at_sites <= found.kept <= 1.1 * at_sites


def test_the_rehearsed_peak_is_that_of_real_tensors(meta: LanguageModel, lm: LanguageModel) -> None:
    batch, length = 4, 50
    found = rehearse(meta, SITES, batch, length)
    tokens, mask = torch.zeros(batch, length, dtype=torch.long), torch.ones(batch, length, dtype=torch.bool)
    with LiveBytes(lm.hf.parameters()) as live:
        capture(lm, Prompts(tokens, mask), SITES, lambda h: h[:, -1, 0], keep=("g", "calls"))
    assert live.peak == pytest.approx(found.peak, rel=0.1)


def test_memory_grows_with_the_batch_and_not_with_fewer_sites(meta: LanguageModel) -> None:
    one, four = rehearse(meta, SITES, 1, 30), rehearse(meta, SITES, 4, 30)
    assert four.kept == pytest.approx(4 * one.kept, rel=0.1)
    assert rehearse(meta, SITES[:3], 4, 30).kept < four.kept


def test_views_and_freed_tensors_do_not_count() -> None:
    with LiveBytes([]) as live:
        x = torch.zeros(1000)
        y = x[:10].view(2, 5)
        assert live.now == 4000
        z = torch.ones(500)
        del z
        assert live.now == 4000
    assert live.peak == 6000
    assert y.shape == (2, 5)
