"""A full-size rehearsal: Gemma 2 2B's shape with random weights and all its residual Gemma Scope SAEs, end to end.

    python scripts/rehearse_full_size.py CACHE [--layers 26] [--lists 10] [--out docs]

Writes random files of the real names and layout into CACHE (13 GB for 26 layers), then runs what ``attribute`` runs:
plan, two forwards and a backward, 26 streamed SAEs of 16,384 features, exact whole-site effects, tables. A random model
writes no lists, so the bundled model writes them (the checkpoint has its tokenizer). Writes docs/scale.md.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import torch
from make_random_checkpoint import gemma_2, snapshot, write_model, write_published

from saeattr import bundle
from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import sample_lists
from saeattr.model.hub import MODELS
from saeattr.model.loading import load_model, load_tokenizer
from saeattr.runs.memory import megabytes
from saeattr.saes.catalogue import pick_saes
from saeattr.settings import make_settings
from saeattr.study.attribution import idle_bytes, group_tables
from saeattr.study.prepare import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--layers", type=int, default=26, help="residual SAEs, from layer 0 on")
    parser.add_argument("--lists", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    hub.HF_HUB_CACHE, hub.HF_HUB_OFFLINE = str(options.cache), True
    took: dict[str, float] = {}
    started = time.monotonic()
    write_files(options.cache, options.layers)
    took["writing the files"] = time.monotonic() - started

    started = time.monotonic()
    small = load_model("bundled", device="cpu")
    pairs, _ = make_pairs(small.tokenizer, sample_lists(small, "cities", options.lists))
    prepared = prepare(
        make_settings(
            {
                "model": "gemma-2-2b-it",
                "kinds": ("resid_post",),
                "layers": tuple(range(options.layers)),
                "lists": options.lists,
                "dtype": "bfloat16",
                "device": "cpu",
            }
        )
    )
    took["checking every file"] = time.monotonic() - started
    started = time.monotonic()
    lm = load_model("gemma-2-2b-it", device="cpu", dtype="bfloat16")
    idle = idle_bytes(lm)
    took["loading the model"] = time.monotonic() - started

    stages: dict[str, float] = {}
    last = ["", time.monotonic()]

    def on_progress(group: str, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if last[0]:
            stages[last[0]] = stages.get(last[0], 0.0) + now - last[1]  # pyright: ignore[reportOperatorIssue]
        last[:] = [stage if done < total else "tables", now]
        print(f"{stage} {done}/{total}", flush=True)

    started = time.monotonic()
    tables, memory = group_tables(lm, "cities", pairs, prepared, idle, on_progress)
    took["attribution, all of it"] = time.monotonic() - started
    write_page(options, took, stages, memory, len(tables.attributions), max(len(pair.clean_ids) for pair in pairs))


def write_files(cache: Path, layers: int) -> None:
    """The checkpoint and the SAEs, where they are not there already."""
    known, config = MODELS["gemma-2-2b-it"], gemma_2("full")
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


def write_page(
    options: argparse.Namespace,
    took: dict[str, float],
    stages: dict[str, float],
    memory: dict[str, Any],
    n_rows: int,
    length: int,
) -> None:
    """docs/scale.md."""
    lines = [
        "# Full size",
        "",
        f"Made by `python scripts/rehearse_full_size.py` (CPU, {torch.get_num_threads()} threads of {os.cpu_count()}, "
        f"torch {torch.__version__}). Gemma 2 2B's shape (26 layers, width 2304, vocabulary 256,000), random "
        f"weights in bfloat16; {options.layers} residual SAEs of 16,384 features in Gemma Scope's files; "
        f"{options.lists} lists of at most {length} tokens. Random weights say nothing about behaviour: "
        "this is about time and memory.",
        "",
        "| step | seconds |",
        "| --- | ---: |",
        *(f"| {step} | {seconds:.0f} |" for step, seconds in took.items()),
        *(f"| - {stage} | {seconds:.0f} |" for stage, seconds in stages.items()),
        "",
        f"{n_rows:,} rows of attributions.",
        "",
        "| memory | |",
        "| --- | ---: |",
        *(f"| {part}, predicted | {megabytes(memory[part])} |" for part in ("weights", "captured", "working", "sae")),
        *(f"| {part}, predicted | {megabytes(memory[part])} |" for part in ("encode", "tables", "peak")),
        f"| peak, measured | {megabytes(memory['measured_peak'] or 0)} |",
        "",
        f"Batch size {memory['batch_size']}.",
        "",
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scale.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
