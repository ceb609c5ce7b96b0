"""A model folder that opens can be run, and what its tokenizer lacks it is not given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from saeattr import bundle
from saeattr.behaviours.tokens import prompt_tokens
from saeattr.errors import UserError
from saeattr.model.loading import load_model, load_tokenizer
from tests.model.toys import toy_config


def saved(folder: Path, family: str) -> Path:
    tokenizer, config = load_tokenizer(bundle.MODEL_FOLDER), toy_config(family)
    config.vocab_size = len(tokenizer)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


@pytest.mark.parametrize(
    ("family", "fields", "said"),
    [
        ("gemma2", {"sliding_window": None}, "Could not find a `sliding_window` argument in the config"),
        ("gpt2", {"attn_pdrop": float("nan")}, "dropout probability has to be between 0 and 1, but got nan"),
    ],
)
def test_a_model_that_opens_and_cannot_be_run_is_refused(
    tmp_path: Path, family: str, fields: dict[str, Any], said: str
) -> None:
    change(saved(tmp_path, family) / "config.json", **fields)
    with pytest.raises(UserError, match=f"opens, but cannot be run: {said}"):
        load_model(str(tmp_path), device="cpu")


def test_a_tokenizer_without_a_beginning_is_given_none(tmp_path: Path) -> None:
    """The bridge takes the end of a text for it (Qwen's have none): prompts would begin with that."""
    change(saved(tmp_path, "llama") / "tokenizer_config.json", bos_token=None)
    tokenizer = load_model(str(tmp_path), device="cpu").tokenizer
    assert tokenizer.bos_token is None
    assert prompt_tokens(tokenizer, "A list") == tokenizer.encode("A list", add_special_tokens=False)
