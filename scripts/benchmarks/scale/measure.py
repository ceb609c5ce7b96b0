"""A full-size rehearsal: Gemma 2 2B's shape with random weights and all its residual Gemma Scope SAEs, end to end.

    python scripts/benchmark.py scale CACHE [--layers 26] [--lists 10] [--validate 2] [--out docs]

Writes random files of the real names and layout into CACHE (13 GB for 26 layers), then runs a study: two forwards and a
backward, 26 streamed SAEs of 16,384 features, exact whole-site effects, exact effects of the top features, entropy. A
random model writes no lists, so the bundled model writes them (the checkpoint has its tokenizer). Writes docs/scale.md,
with the predicted and the measured peak of every stage.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
from make_random_checkpoint import gemma_2, snapshot, write_model, write_published

import saeattr
from benchmarks.scale.page import Rehearsed, write_page
from saeattr import bundle
from saeattr.model.hub import MODELS
from saeattr.model.loading import load_tokenizer
from saeattr.saes.catalogue import pick_saes

#: What follows a step that is done: tables are written, and a few pairs run in float32 for the warning of rounding.
TABLES = "tables, and five pairs in float32"
#: Layers and lists of a quick run, whose model is tiny.
QUICK_LAYERS, QUICK_LISTS = 2, 2


class Clock:
    """Seconds of each step, in the order in which they were first done."""

    def __init__(self) -> None:
        self.took: dict[str, float] = {}
        self.since = time.monotonic()

    def note(self, step: str) -> None:
        """What was done since the last note was ``step``."""
        now = time.monotonic()
        self.took[step] = self.took.get(step, 0.0) + now - self.since
        self.since = now


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--layers", type=int, default=26, help="residual SAEs, from layer 0 on")
    parser.add_argument("--lists", type=int, default=10)
    parser.add_argument("--validate", type=int, default=2, help="features whose exact effects are measured; 0: none")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--quick", action="store_true", help="a tiny model, two layers, two lists: does it run?")
    options = parser.parse_args(arguments)
    layers, lists = (QUICK_LAYERS, QUICK_LISTS) if options.quick else (options.layers, options.lists)
    hub.HF_HUB_CACHE, hub.HF_HUB_OFFLINE = str(options.cache), True
    clock = Clock()
    write_files(options.cache, layers, "toy" if options.quick else "full")
    clock.note("writing the files")
    with tempfile.TemporaryDirectory() as folder:
        found = rehearse(layers, lists, options.validate, clock, Path(folder))
    write_page(found, layers, lists, options.out)


def rehearse(layers: int, lists: int, validate: int, clock: Clock, folder: Path) -> Rehearsed:
    """The stages of a study, as ``entropy``, ``attribute`` and ``validate`` run them, with what each was to take."""
    own = folder / "lists"
    alone: dict[str, Any] = {"lists": lists, "device": "cpu", "figures": False}
    saeattr.attribute("cities", out=own, sites=["resid_post.0"], validate_top=min(1, validate), curves=False, **alone)
    clock.note("lists by the bundled model")
    within = Clock()
    last = ""

    def on_progress(group: str, step: str, done: int, total: int) -> None:
        nonlocal last
        within.note(last)
        last = step if done < total else TABLES
        print(f"{step} {done}/{total}", flush=True)

    asked = {**alone, "model": "gemma-2-2b-it", "pairs_of": str(own), "dtype": "bfloat16", "on_progress": on_progress}
    study = saeattr.attribute(
        *("cities",),
        out=folder / "full",
        kinds=("resid_post",),
        layers=tuple(range(layers)),
        validate_top=validate,
        **asked,
    )
    within.note(last)
    clock.note("attribute" if not validate else "attribute and validate")
    saeattr.entropy("cities", out=folder / "full", validate_top=validate, **asked)
    clock.note("entropy")
    within.took.pop("", None)
    plan = json.loads(study.folder.plan_path.read_text(encoding="utf-8"))["groups"]["cities"]
    longest = max(map(len, study.pairs()["clean_ids"]))
    return Rehearsed(clock.took, within.took, plan, len(study.attributions()), longest)


def write_files(cache: Path, layers: int, preset: str) -> None:
    """The checkpoint and the SAEs, where they are not there already."""
    known, config = MODELS["gemma-2-2b-it"], gemma_2(preset)
    folder = snapshot(cache, known.hub)
    if not (folder / "model.safetensors.index.json").exists():
        write_model(cache, known.hub, config, load_tokenizer(bundle.MODEL_FOLDER), 2 * 10**9)
    chosen = pick_saes(known.releases[:1], "16k").values()
    missing = [
        sae
        for sae in chosen
        if sae.site.layer < layers and not (snapshot(cache, sae.repo) / sae.path / "params.npz").exists()
    ]
    write_published(cache, missing, known.hub)
