"""The bundled model and a few of its lists, opened once for all tests."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from saeattr import bundle
from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel, load_model
from saeattr.saes import loading
from saeattr.saes.loading import SaeFile, find_saes
from saeattr.sites import Site

# The tests run in two processes; at this size a second thread each would only be in the way.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def lm() -> LanguageModel:
    return load_model("bundled", device="cpu")


@pytest.fixture(scope="session")
def saes() -> dict[Site, SaeFile]:
    return find_saes("bundled")


@pytest.fixture(scope="session")
def pairs(lm: LanguageModel) -> list[Pair]:
    """Five pairs of different lengths."""
    found, _ = make_pairs(lm.tokenizer, sample_lists(lm, "cities", Sampling(5, seed=1)))
    assert len({len(pair.clean_ids) for pair in found}) > 1
    return found


@pytest.fixture(scope="session")
def plain_model():
    """The bundled model as Hugging Face opens it: no bridge, no hooks of ours."""
    from transformers import Gemma2ForCausalLM

    model = Gemma2ForCausalLM.from_pretrained(bundle.MODEL_FOLDER, attn_implementation="eager", dtype=torch.float32)
    return model.eval()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each SAE was opened during the test, by its site."""
    counted: Counter[str] = Counter()
    real = loading.load_sae

    def load(file: SaeFile, *more: Any) -> Any:
        counted[str(file.site)] += 1
        return real(file, *more)

    monkeypatch.setattr(loading, "load_sae", load)
    return counted
