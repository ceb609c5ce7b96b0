"""Build a small model of agreement and greater-than with SAEs of its sites: not shipped, under ten minutes.

    python scripts/build_behaviours.py [--out models/behaviours] [--steps 450] [--seed 0]
    python -m saeattr attribute --behaviour agreement --model models/behaviours/model --saes models/behaviours/saes

A Gemma 2 of 4 layers is trained from scratch on sentences of the ready behaviours' own generators; a fifth of the
combinations of subject and verb, and of the years, is kept for the test. What it can do there, and how well the SAEs
rebuild its activations, is written into figures.json. The same seed on the same machine gives the same files.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from behaviours_model.grammar import words_of_both
from behaviours_model.training import RECIPE, draw_batches, measure, train
from bundled import evaluate
from bundled.activations import collect
from bundled.tokenizer import build_tokenizer
from bundled.train_saes import SaeRecipe, save_sae, train_sae
from transformers import Gemma2ForCausalLM

from saeattr.saes.loading import find_saes, load_sae
from saeattr.sites import KINDS, Site

SITES = [Site(kind, layer) for layer in range(4) for kind in KINDS]
#: One recipe for all, trained once.
SAE = SaeRecipe(d_sae=256, k=16.0, steps=800, batch=1024)
#: Batches of sentences that the SAEs are trained on, and that their quality is measured on.
TRAIN_BATCHES, TEST_BATCHES = 120, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("models/behaviours"))
    parser.add_argument("--steps", type=int, default=RECIPE.steps, help="training steps of the model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # The order of sums, and with it every file, depends on the number of threads.
    torch.set_num_threads(1)
    started = time.monotonic()
    for old in ("model", "saes"):
        shutil.rmtree(options.out / old, ignore_errors=True)
    tokenizer = build_tokenizer({}, [], [words_of_both()], years=True)
    model = train(tokenizer, dataclasses.replace(RECIPE, steps=options.steps), options.seed)
    model.save_pretrained(options.out / "model")
    tokenizer.save_pretrained(options.out / "model")
    figures: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": options.steps,
        "minutes_model": (time.monotonic() - started) / 60,
        "held_out": measure(model, tokenizer, options.seed + 1),
    }
    for row in figures["held_out"]:
        print({name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}, flush=True)
    figures["saes"] = build_saes(options.out / "saes", model, tokenizer, options.seed)
    figures["minutes"] = (time.monotonic() - started) / 60
    figures["processor_minutes"] = time.process_time() / 60
    (options.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"{options.out}: {figures['minutes']:.1f} minutes, {figures['processor_minutes']:.1f} of one processor")


def build_saes(folder: Path, model: Gemma2ForCausalLM, tokenizer: Any, seed: int) -> dict[str, dict[str, float]]:
    """Train and save an SAE for every site; returns how well each rebuilds sentences of another seed."""
    activations = collect(model, draw_batches(tokenizer, TRAIN_BATCHES, seed + 2), SITES)
    test_on = draw_batches(tokenizer, TEST_BATCHES, seed + 3)
    for site in SITES:
        save_sae(train_sae(activations.pop(site), SAE, seed), site, folder / str(site))
    found = {}
    for site, file in find_saes(str(folder)).items():
        found[str(site)] = {"width": file.d_sae, **evaluate.sae_quality(model, load_sae(file), test_on)}
        print(site, {name: round(value, 4) for name, value in found[str(site)].items()}, flush=True)
    return found


if __name__ == "__main__":
    main()
