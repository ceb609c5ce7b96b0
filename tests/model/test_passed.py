"""A model passed as an object: known again by its weights, whatever stands between it and its names."""

from __future__ import annotations

import copy
import gc
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM

from saeattr import bundle
from saeattr.errors import UserError
from saeattr.model.loading import LanguageModel, load_model, load_tokenizer
from saeattr.model.passed import passed_model

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import make_random_checkpoint as checkpoint


def toy(architecture: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(checkpoint.toy(architecture))


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma-3-1b-it", "gemma-3-4b-it"])
def test_the_fingerprint_is_the_same_before_and_behind_the_bridge(architecture: str) -> None:
    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    model = toy(architecture)
    ids = torch.tensor([[2, 5, 6, 7, 8]])
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(ids).logits
    other = copy.deepcopy(model)
    once, again = passed_model(model, tokenizer), passed_model(model, tokenizer)
    assert once.lm.bridge is again.lm.bridge
    bridged = passed_model(passed_model((other, tokenizer)).lm.bridge)
    assert once.sha256 == again.sha256 == bridged.sha256
    with torch.no_grad():
        torch.testing.assert_close(once.lm.hf(ids).logits, logits, rtol=1e-4, atol=1e-4)
    assert once.lm.n_layers == 4
    list(model.parameters())[3].data.view(-1)[0] += 1e-3
    assert passed_model(model, tokenizer).sha256 != once.sha256


def test_a_model_that_is_open_already_keeps_its_hooks(lm: LanguageModel) -> None:
    """Wrapped a second time, it would never call the first bridge's again."""
    assert passed_model(lm.hf, lm.tokenizer).lm.bridge is lm.bridge
    seen = []
    with torch.no_grad(), lm.hooks([("blocks.0.attn.hook_pattern", lambda weights, hook: seen.append(weights.shape))]):
        lm.hf(input_ids=torch.tensor([[2, 5, 6]]))
    assert seen == [(1, 4, 3, 3)]


def test_a_model_that_nobody_uses_any_more_is_gone_at_once() -> None:
    """Without the garbage collector, which is off while a command runs: its place is wanted for the next one."""
    lm = load_model("bundled", device="cpu")
    weight = weakref.ref(next(lm.hf.parameters()))
    # What loading left behind.
    gc.collect()
    gc.disable()
    try:
        del lm
        assert weight() is None
    finally:
        gc.enable()


def test_a_model_inside_a_bridge_of_ones_own_is_refused() -> None:
    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    bridge = TransformerBridge.boot_transformers("llama", hf_model=toy("llama"), tokenizer=tokenizer, device="cpu")
    with pytest.raises(UserError, match=r"inside a TransformerBridge already: pass the bridge itself"):
        passed_model(bridge.original_model, tokenizer)


def test_another_vocabulary_is_another_model() -> None:
    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    wider = copy.deepcopy(tokenizer)
    wider.add_tokens(["anotherword"])
    assert passed_model(toy("llama"), tokenizer).sha256 != passed_model(toy("llama"), wider).sha256


def test_the_tokenizer_that_was_passed_is_left_as_it_is() -> None:
    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    tokenizer.chat_template = None
    side = tokenizer.padding_side
    assert passed_model(toy("llama"), tokenizer).lm.tokenizer.chat_template
    assert tokenizer.chat_template is None
    assert tokenizer.padding_side == side


def test_a_model_with_nan_or_of_another_dtype_is_refused() -> None:
    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    with pytest.raises(UserError, match=r"in torch.float64: turn it into one of float32"):
        passed_model(toy("llama").double(), tokenizer)
    model = toy("llama")
    model.model.norm.weight.data[3] = float("nan")
    with pytest.raises(UserError, match=r"NaN or infinity in model.norm.weight"):
        passed_model(model, tokenizer)
