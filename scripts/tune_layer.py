"""A copy of the bundled model that goes on with its lists, tuned in one layer only: what docs/compare.md compares.

python scripts/tune_layer.py FOLDER [--layer 3] [--steps 6]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma2ForCausalLM

from saeattr import bundle
from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import load_model, load_tokenizer

#: What it is tuned on: lists that no study of another topic sees.
TOPIC, LISTS, SEED = "rivers", 4, 5
RATE = 1e-3


def tune(folder: Path, layer: int, steps: int = 6) -> Path:
    """Lower logit(end) - logit(hyphen) at the last decision point, by steps of Adam on one layer's parameters."""
    model: Any = Gemma2ForCausalLM.from_pretrained(bundle.MODEL_FOLDER, attn_implementation="eager")
    lm = load_model("bundled", device="cpu")
    pairs, _ = make_pairs(lm.tokenizer, sample_lists(lm, TOPIC, Sampling(LISTS, seed=SEED)))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(f"model.layers.{layer}."))
    optimiser = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=RATE)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.stack([_metric(model, pair) for pair in pairs]).sum().backward()
        optimiser.step()
    model.save_pretrained(folder)
    load_tokenizer(bundle.MODEL_FOLDER).save_pretrained(folder)
    return folder


def _metric(model: Any, pair: Pair) -> torch.Tensor:
    point = pair.points[-1]
    logits = model(input_ids=torch.tensor([pair.clean_ids])).logits[0, point.position]
    return logits[list(point.wanted)].mean() - logits[list(point.unwanted)].mean()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    given = parser.parse_args()
    print(tune(given.folder, given.layer, given.steps))
