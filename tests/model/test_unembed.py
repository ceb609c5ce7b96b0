"""Logits of a model in bfloat16: float32 products of the stored rows, with the soft-cap in float32 too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from saeattr.model import unembed
from saeattr.model.loading import LanguageModel, load_model
from saeattr.model.unembed import entropy, full_logits, token_logits
from saeattr.runs.metric import METRICS, Reads
from tests.model.toys import make_toy

TOKENS = torch.tensor([5, 9, 40])
CAP = 3.0


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """The toy Gemma 2 in bfloat16; its logits are capped at ``CAP``."""
    folder: Path = tmp_path_factory.mktemp("gemma2")
    make_toy("gemma2", folder)
    return load_model(str(folder), device="cpu", dtype="bfloat16")


@pytest.fixture(params=["with a bias", "without a bias"])
def bias(request: pytest.FixtureRequest, toy: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """What is added to the logits, in float64; the toy has its unembedding's bias, or none, while a test runs."""
    values = torch.randn(64, generator=torch.Generator().manual_seed(4)).bfloat16()
    own = values if request.param == "with a bias" else None
    unembedding = SimpleNamespace(weight=weights(toy), bias=own)
    monkeypatch.setattr(toy.hf, "get_output_embeddings", lambda: unembedding)
    return torch.zeros(64).double() if own is None else values.double()


def final_states() -> Tensor:
    return torch.randn(20, 32, generator=torch.Generator().manual_seed(3)).bfloat16()


def reads(following: Tensor | None = None) -> Reads:
    """Twenty decision points, one a row, between the tokens 5 and 40."""
    rows, zeros = torch.arange(20), torch.zeros(20, dtype=torch.long)
    wanted = torch.tensor([[True, False]]).expand(20, 2)
    next_ids = zeros if following is None else following
    return Reads(rows, zeros, zeros + 1, torch.ones(20), next_ids, torch.tensor([5, 40]), wanted, ~wanted)


def weights(lm: LanguageModel) -> Tensor:
    return lm.hf.lm_head.weight.detach()  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue, reportReturnType]


def exact_logits(lm: LanguageModel, bias: Tensor, tokens: Tensor) -> Tensor:
    """In float64, from the weights as Hugging Face holds them."""
    return CAP * torch.tanh((final_states().double() @ weights(lm)[tokens].double().T + bias[tokens]) / CAP)


def rounded_logits(lm: LanguageModel, bias: Tensor) -> Tensor:
    """Products in bfloat16, so that no copy of the unembedding is made; all after them in float64."""
    product = final_states() @ weights(lm).T
    assert product.dtype == torch.bfloat16
    return CAP * torch.tanh((product.double() + bias) / CAP)


def test_the_logits_of_a_metric_are_products_in_float32(toy: LanguageModel, bias: Tensor) -> None:
    found = token_logits(toy, final_states(), TOKENS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact_logits(toy, bias, TOKENS), rtol=1e-5, atol=2e-6)


def test_a_metric_is_a_difference_of_float32_logits(toy: LanguageModel, bias: Tensor) -> None:
    found = METRICS["logit-difference"].values(toy, final_states(), reads())
    expected = exact_logits(toy, bias, TOKENS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected[:, 0] - expected[:, 2], rtol=1e-5, atol=4e-6)


def test_the_logits_of_the_whole_vocabulary_are_capped_in_float32(toy: LanguageModel, bias: Tensor) -> None:
    found = full_logits(toy, final_states())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), rounded_logits(toy, bias), rtol=1e-5, atol=2e-6)


def test_a_log_probability_is_taken_in_float32(toy: LanguageModel, bias: Tensor) -> None:
    following = torch.arange(20) + 3
    found = METRICS["neg-log-prob"].values(toy, final_states(), reads(following))
    logits = exact_logits(toy, bias, torch.arange(64))
    expected = logits.exp().sum(1).log() - logits[torch.arange(20), following]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("held", [7, 64, 2**14])
def test_the_entropy_is_that_of_the_whole_vocabulary_however_it_is_sliced(
    toy: LanguageModel, bias: Tensor, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unembed, "VOCABULARY_SLICE", held)
    nats, total = entropy(toy, final_states())
    logits = exact_logits(toy, bias, torch.arange(64))
    log_p = logits.log_softmax(1)
    assert nats.dtype == total.dtype == torch.float32
    torch.testing.assert_close(nats.double(), -(log_p.exp() * log_p).sum(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(total.double(), logits.logsumexp(1), rtol=1e-5, atol=1e-5)
