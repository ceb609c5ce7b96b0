"""What transformers makes of a folder by itself, for fields that are left out."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.faults.opening import REQUEST, chat_logits

SAME = "as transformers reads it"


def open_both(folder: Path) -> str:
    """Whether the logits of a chat are those of the folder without the bridge and without anything of ours."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": REQUEST}]
    tokens = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        plain = model(tokens["input_ids"]).logits
    ours = chat_logits(folder)
    if ours.shape != plain.shape:
        return f"{tuple(ours.shape)} in place of {tuple(plain.shape)}"
    furthest = float((ours - plain).abs().max() / plain.abs().max())
    return SAME if furthest < 1e-4 else f"off by {furthest:.2g} of the largest logit"
