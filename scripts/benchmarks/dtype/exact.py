"""What does bfloat16 cost exact effects? Those of the same edits in float32, with and without unedited copies.

Edits of x along random directions, of several lengths, in the bundled model and in a wider one with random weights:
kernels chosen by a batch's shape round differently from some width on. Writes a section of docs/accuracy.md.

    python scripts/benchmark.py exact-dtype CACHE [--lists 10] [--out docs]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pandas as pd
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma2Config

from benchmarks.cases import list_pairs
from benchmarks.sections import markdown, replace_section
from saeattr import bundle
from saeattr.attribution.rounding import LARGE
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel, load_model, load_tokenizer
from saeattr.runs.batch import BatchRuns, run_batch
from saeattr.runs.effects import Edits, exact_effects
from saeattr.runs.question import Question
from saeattr.sites import Site

#: Lengths of edits, as shares of |x|.
LENGTHS = (0.0, 0.003, 0.3)
DIRECTIONS, COPIES, LAYERS, WIDTH = 12, 32, 6, 768
SITES = (Site("resid_post", 0), Site("mlp_out", 2), Site("resid_post", 4))
SUBTRACTED = {"the clean run": False, "an unedited copy": True}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cache", type=Path, help="where the random checkpoint is written (0.2 GB)")
    parser.add_argument("--lists", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    pairs = list_pairs(load_model("bundled", device="cpu"), ("cities",), options.lists)
    models = {"bundled, width 256": "bundled", f"random, width {WIDTH}": str(write_wide(options.cache))}
    table = pd.DataFrame([row for name, model in models.items() for row in compare(name, model, pairs)])
    replace_section(options.out / "accuracy.md", "exact-dtype", page(table, len(pairs)))


def write_wide(cache: Path) -> Path:
    """A Gemma 2 with random weights that uses the bundled tokenizer."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer(bundle.MODEL_FOLDER)
    heads: dict[str, Any] = {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 96,
        "query_pre_attn_scalar": 96,
    }
    sizes: dict[str, Any] = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": LAYERS}
    config = Gemma2Config(vocab_size=len(tokenizer), **sizes, **heads)
    folder = cache / f"gemma2-{LAYERS}x{WIDTH}"
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def compare(name: str, model: str, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """One row for each site and length of edit."""
    coarse, fine = (load_model(model, device="cpu", dtype=dtype) for dtype in ("bfloat16", "float32"))
    for exact, rounded in zip(fine.hf.parameters(), coarse.hf.parameters(), strict=True):
        exact.data = rounded.data.float()
    rows = []
    for site in SITES:
        batches = [run(lm, pairs, site) for lm in (fine, coarse)]
        directions = torch.randn(
            DIRECTIONS, batches[0].clean.x[site].shape[2], generator=torch.Generator().manual_seed(0)
        )
        directions /= directions.norm(dim=1, keepdim=True)
        for length in LENGTHS:
            edits = make_edits(batches[0], site, length)
            truth, _ = measure(batches[0], site, directions, edits)
            row: dict[str, Any] = {"model": name, "site": str(site), "length": length}
            row["effect"] = float(truth.abs().median())
            seconds = []
            for what, beside in SUBTRACTED.items():
                with mock.patch("saeattr.runs.unedited.needs_unedited", lambda batch, beside=beside: beside):
                    found, spent = measure(batches[1], site, directions, edits)
                seconds.append(spent)
                row[f"off, {what}"] = float((found - truth).abs().median())
                row[f"most, {what}"] = float((found - truth).abs().max())
                row[f"largest, {what}"] = float(found.abs().max())
            rows.append({**row, "cost": seconds[1] / seconds[0]})
            print(rows[-1], flush=True)
    return rows


def run(lm: LanguageModel, pairs: Sequence[Pair], site: Site) -> BatchRuns:
    return run_batch(lm, pairs, [site], Question())


def make_edits(batch: BatchRuns, site: Site, length: float) -> Edits:
    """Every direction in every pair, at the first token that differs."""
    n = len(batch.pairs)
    row = torch.arange(n).repeat(DIRECTIONS)
    position = torch.tensor([pair.first_change for pair in batch.pairs]).repeat(DIRECTIONS)
    size = length * batch.clean.x[site][row, position].float().norm(dim=1)
    return Edits(row, torch.arange(len(row)), position, torch.arange(DIRECTIONS).repeat_interleave(n), size)


def measure(batch: BatchRuns, site: Site, directions: Tensor, edits: Edits) -> tuple[Tensor, float]:
    """Effects, and seconds."""
    along: Any = SimpleNamespace(site=site, W_dec=directions)
    start = time.perf_counter()
    return exact_effects(batch, along, edits, COPIES), time.perf_counter() - start


def page(table: pd.DataFrame, n_pairs: int) -> list[str]:
    nothing, least = (table[table["length"] == length] for length in LENGTHS[:2])
    largest = [f"{nothing[f'largest, {what}'].max():.2g}" for what in SUBTRACTED]
    off = [f"{least[f'off, {what}'].min():.4f} to {least[f'off, {what}'].max():.4f}" for what in SUBTRACTED]
    shown = table.drop(columns=[f"largest, {what}" for what in SUBTRACTED])
    decimals = {name: shown[name].map("{:.4f}".format) for name in shown.columns[3:-1]}
    return [
        "# What bfloat16 costs exact effects",
        "",
        f"Made by `python scripts/benchmark.py exact-dtype` (torch {torch.__version__}, 1 thread): x moved along "
        f"{DIRECTIONS} random directions at one token of {n_pairs} lists, the layers above run again in bfloat16 and, "
        f"with the same rounded weights, in float32; {COPIES} copies in a forward. In bfloat16 an unedited copy of "
        "each row runs in the same forward, and an effect is the difference to it, not to the clean run, which had "
        "another shape. length: of the edit, as a share of |x|. effect: median |effect| in float32. off, most: median "
        "and largest |bfloat16 - float32|, by what is subtracted. cost: time with unedited copies against without, "
        "timed once beside whatever else the machine did.",
        "",
        f"With unedited copies an edit of length 0 has an effect of at most {largest[1]}, without of up to "
        f"{largest[0]}. Effects of edits of length {LENGTHS[1]:g} are off by {off[1]} (medians by site) with them and "
        f"by {off[0]} without: an edited copy is rounded anew in every layer, however small the edit, and no unedited "
        "copy takes that away. Each validation measures what it is (`exact_warning`), and warns where it is more than "
        f"{LARGE:g} of the typical effect.",
        "",
        markdown(shown.assign(**decimals)),
    ]
