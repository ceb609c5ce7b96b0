"""A full-size rehearsal: Gemma 2 2B's shape with random weights and all its residual Gemma Scope SAEs, end to end.

    python scripts/benchmark.py scale CACHE [--layers 26] [--lists 10] [--out docs]

Writes random files of the real names and layout into CACHE (13 GB for 26 layers), then runs what ``attribute`` runs:
plan, two forwards and a backward, 26 streamed SAEs of 16,384 features, exact whole-site effects, tables. A random model
writes no lists, so the bundled model writes them (the checkpoint has its tokenizer). Writes docs/scale.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import huggingface_hub.constants as hub
from make_random_checkpoint import gemma_2, snapshot, write_model, write_published

from benchmarks.cases import list_pairs
from benchmarks.scale.page import Rehearsed, write_page
from saeattr import bundle
from saeattr.attribution.group import attribute_group
from saeattr.model.hub import MODELS
from saeattr.model.loading import load_model, load_tokenizer
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from saeattr.saes.catalogue import pick_saes
from saeattr.settings import make_settings
from saeattr.study.memory import memory_plan, within_memory
from saeattr.study.prepare import prepare

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
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--quick", action="store_true", help="a tiny model, two layers, two lists: does it run?")
    options = parser.parse_args(arguments)
    layers, lists = (QUICK_LAYERS, QUICK_LISTS) if options.quick else (options.layers, options.lists)
    hub.HF_HUB_CACHE, hub.HF_HUB_OFFLINE = str(options.cache), True
    clock = Clock()
    write_files(options.cache, layers, "toy" if options.quick else "full")
    clock.note("writing the files")
    write_page(rehearse(layers, lists, clock), layers, lists, options.out)


def rehearse(layers: int, lists: int, clock: Clock) -> Rehearsed:
    """What ``attribute`` does, step by step."""
    pairs = list_pairs(load_model("bundled", device="cpu"), ["cities"], lists)
    wanted = {"model": "gemma-2-2b-it", "kinds": ("resid_post",), "layers": tuple(range(layers)), "lists": lists}
    prepared = prepare(make_settings({**wanted, "dtype": "bfloat16", "device": "cpu"}))
    clock.note("checking every file")
    lm = load_model("gemma-2-2b-it", device="cpu", dtype="bfloat16")
    clock.note("loading the model")

    within = Clock()
    last = ""

    def on_step(step: str, done: int, total: int) -> None:
        nonlocal last
        within.note(last)
        last = step if done < total else "tables"
        print(f"{step} {done}/{total}", flush=True)

    longest = max(len(pair.clean_ids) for pair in pairs)
    plan = memory_plan(prepared, len(pairs), longest, lm.device)
    task = Task(lm, pairs, prepared.saes, prepared.question, on_step=on_step)
    tables, pace, peak = within_memory(
        lm,
        Pace(plan.batch_size, plan.copies),
        lambda pace: attribute_group(dataclasses.replace(task, pace=pace)),
    )
    within.note(last)
    clock.note("attribution, all of it")
    within.took.pop("", None)
    return Rehearsed(clock.took, within.took, plan, pace.batch_size, peak, len(tables.attributions), longest)


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
