"""What transformers makes of a folder by itself, for fields that are left out."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.faults.opening import REQUEST, digest


def open_plain(folder: Path) -> str:
    """The logits of a chat, without the bridge and without anything of ours."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": REQUEST}]
    tokens = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        return digest([model(tokens["input_ids"]).logits])
