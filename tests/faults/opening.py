"""What opening a model or an SAE gives, as text that can be compared; imported before processes are forked."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The first import of these warns of what others deprecate. No thread may be started here.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import sae_lens  # noqa: F401
    import torch
    import transformers.models.gemma.modeling_gemma
    import transformers.models.gemma2.modeling_gemma2
    import transformers.models.gemma3.modeling_gemma3
    import transformers.models.gpt2.modeling_gpt2
    import transformers.models.llama.modeling_llama  # noqa: F401
    from transformer_lens.model_bridge import TransformerBridge  # noqa: F401

    import saeattr.api  # noqa: F401
    from saeattr import bundle
    from saeattr.behaviours.chat import chat_prompt, chat_text, chat_turns
    from saeattr.model.capture import final_hidden
    from saeattr.model.loading import (
        LanguageModel,
        count_layers,
        find_model,
        load_model,
        load_tokenizer,
        longest_input,
        read_config,
        site_widths,
    )
    from saeattr.model.memory import meta_model
    from saeattr.model.prompts import Prompts
    from saeattr.model.unembed import full_logits
    from saeattr.saes.loading import find_saes, load_sae

torch.set_num_threads(1)

#: What the model is asked.
REQUEST = "List five cities in alphabetical order."


def digest(tensors: Sequence[torch.Tensor]) -> str:
    """Of numbers to five digits: what the order of additions changes is not told apart."""
    whole = hashlib.sha256()
    for tensor in tensors:
        if not bool(torch.isfinite(tensor).all()):
            return "no finite numbers"
        rounded = (tensor.double() * 1e4).round()
        whole.update(f"{tuple(tensor.shape)}".encode() + rounded.numpy().tobytes())
    return whole.hexdigest()


def open_model(folder: Path) -> str:
    """All that a run asks of a model's folder: sizes, tokenizer, template, memory, weights, and logits of a chat."""
    find_model(str(folder))
    widths, layers, longest = site_widths(folder), count_layers(folder), longest_input(read_config(folder))
    load_tokenizer(folder)
    meta_model(folder)
    bundle.fingerprint(folder)
    lm = load_model(str(folder), device="cpu")
    turns, text = chat_turns(lm.tokenizer), chat_text(lm.tokenizer, REQUEST)
    return f"{widths} {layers} {longest} {turns} {text!r} {digest([_logits(lm)])}"


def chat_logits(folder: Path) -> torch.Tensor:
    """The logits of a chat, through the bridge."""
    return _logits(load_model(str(folder), device="cpu"))


def _logits(lm: LanguageModel) -> torch.Tensor:
    tokens = torch.tensor([chat_prompt(lm.tokenizer, REQUEST)])
    with torch.no_grad():
        return full_logits(lm, final_hidden(lm, Prompts(tokens, torch.ones_like(tokens, dtype=torch.bool))))


def plain_numbers(folder: Path) -> str:
    """The logits alone."""
    return open_model(folder).rsplit(" ", 1)[1]


def open_saes(folder: Path) -> str:
    """What every SAE of a folder makes of some activations."""
    found = []
    for site, file in find_saes(str(folder)).items():
        sae = load_sae(file)
        x = 3 * torch.randn(6, file.d_in, generator=torch.Generator().manual_seed(0)) + 0.5
        f = sae.encode(x)
        found += [str(site), digest([f, sae.decode(f) + sae.rest(x), sae.pre_activation(x).relu()])]
    return " ".join(found)
