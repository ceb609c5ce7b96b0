"""What does attribution cost? Time and peak memory, as ratios within one run; writes docs/benchmark.md.

Time: attribution for all sites and features (two forwards, one backward, every SAE) against one bare forward+backward
of the same batch by Hugging Face's model with frozen weights, plus the SAEs' encodes of clean and corrupted tokens.
Exact effects: see exact.py.
Memory: peak resident memory of a fresh process that attributes with 1 and with 18 SAEs of 16,384 features.

    python scripts/benchmark.py cost [--rounds 7] [--out docs]
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Gemma2ForCausalLM

from benchmarks.cases import list_pairs
from benchmarks.cost.exact import exact_lines
from saeattr import bundle
from saeattr.attribution.site import attribute_site
from saeattr.behaviours.pair import Pair, pad_pairs
from saeattr.files import write_text
from saeattr.model.loading import LanguageModel, load_model
from saeattr.model.memory import measure_peak, resident_bytes
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, effect_tokens, run_batch, site_tokens
from saeattr.runs.metric import plan_reads
from saeattr.runs.question import Question
from saeattr.saes.loading import find_saes, stream_saes
from saeattr.saes.sae import ReluAutoencoder, SparseAutoencoder
from saeattr.sites import KINDS, Site

WIDE = 16_384
#: The program that runs this.
BENCHMARK = str(Path(__file__).parents[2] / "benchmark.py")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--memory-of", type=Path, help="attribute with the SAEs in this folder and print the peak")
    parser.add_argument("--quick", action="store_true", help="one round, few ablations, to see that it runs")
    options = parser.parse_args(arguments)
    # One thread: two on a busy machine wait for each other, and the ratios say little.
    torch.set_num_threads(1)
    if options.memory_of:
        print(json.dumps(peak_memory(options.memory_of)))
        return
    rounds = 1 if options.quick else options.rounds
    exact = exact_lines(*prepared(), medians, min(rounds, 3), few=options.quick)
    lines = [*time_lines(rounds), *exact, *memory_lines()]
    where = f"{platform.machine()}, {torch.get_num_threads()} thread, torch {torch.__version__}, bundled model"
    header = ["# What attribution costs", "", f"Made by `python scripts/benchmark.py cost` ({where})."]
    text = "\n".join([*header, "", *lines, ""])
    write_text(options.out / "benchmark.md", text)
    print(text)


def time_lines(rounds: int) -> list[str]:
    """Ratios of attribution's time to a bare forward+backward and encodes, for the bundled and for wide SAEs."""
    lm, pairs = prepared()
    model = Gemma2ForCausalLM.from_pretrained(bundle.MODEL_FOLDER, attn_implementation="eager").eval()
    model.requires_grad_(False)
    saes = list(stream_saes(list(find_saes().values()), lm.device))
    n_tokens = sum(len(pair.clean_ids) for pair in pairs)
    lines = [
        "## Time",
        "",
        f"{len(pairs)} pairs, {n_tokens} tokens, {len(saes)} sites; median of {rounds} rounds, the parts taking turns. "
        "bare: one forward+backward of the clean prompts by the Hugging Face model (frozen weights, gradient at the "
        "embeddings, its usual full logits). encodes: every SAE on the clean and the corrupted tokens.",
        "",
        "| SAEs | bare, ms | encodes, ms | attribution, ms | attribution / (bare + encodes) "
        "| (attribution - encodes) / bare |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    widths = " or ".join(str(width) for width in sorted({sae.d_sae for sae in saes}))
    wide = list(wide_saes(lm, pairs))
    for label, group in ((f"bundled, {widths} wide", saes), (f"random, {WIDE:,} wide", wide)):
        parts: dict[str, Callable[[], object]] = {
            "bare": lambda: bare(model, pairs, lm),
            "encodes": lambda group=group: encodes(lm, pairs, group),
            "attribution": lambda group=group: attribution(lm, pairs, group),
        }
        took = medians(parts, rounds)
        ratio = took["attribution"] / (took["bare"] + took["encodes"])
        beside = (took["attribution"] - took["encodes"]) / took["bare"]
        cells = [f"{1000 * took[name]:.0f}" for name in ("bare", "encodes", "attribution")]
        lines.append(f"| {label} | {' | '.join(cells)} | {ratio:.2f} | {beside:.2f} |")
    return lines


def prepared() -> tuple[LanguageModel, list[Pair]]:
    lm = load_model("bundled", device="cpu")
    return lm, list_pairs(lm, ["cities"], 10)


def medians(parts: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each part; parts take turns so that a slow minute hits all of them."""
    took: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(rounds + 1):
        for name, part in parts.items():
            started = time.perf_counter()
            inner = part()
            elapsed = inner if isinstance(inner, float) else time.perf_counter() - started
            if turn:
                took[name].append(elapsed)
    return {name: statistics.median(times) for name, times in took.items()}


def bare(model: Gemma2ForCausalLM, pairs: list[Pair], lm: LanguageModel) -> None:
    """The least that any gradient method pays: one forward and backward."""
    padded = pad_pairs(pairs, lm.pad_id)
    reads = plan_reads(pairs, "last")
    x = model.get_input_embeddings()(padded.clean.tokens).requires_grad_()
    logits = model(inputs_embeds=x, attention_mask=padded.clean.mask.long(), use_cache=False).logits
    at_end = logits[reads.row, reads.position][:, reads.tokens]
    value = ((at_end * (reads.wanted.float() - reads.unwanted.float())).sum(1) * reads.weight).sum()
    torch.autograd.grad(value, [x])


def encodes(lm: LanguageModel, pairs: list[Pair], saes: Sequence[SparseAutoencoder]) -> float:
    """Seconds for the encodes alone."""
    batch = run_batch(lm, pairs, [sae.site for sae in saes], Question())
    chosen = effect_tokens(batch, "corrupted")
    started = time.perf_counter()
    for sae in saes:
        tokens = site_tokens(batch, sae.site, chosen)
        sae.encode(tokens.clean)
        assert tokens.corrupted is not None
        sae.encode(tokens.corrupted.x)
    return time.perf_counter() - started


def attribution(lm: LanguageModel, pairs: list[Pair], saes: Sequence[SparseAutoencoder]) -> None:
    """Every feature's effect at every site: all that a study computes but the tables and the whole-site checks."""
    batch = run_batch(lm, pairs, [sae.site for sae in saes], Question())
    for sae in saes:
        attribute_one(batch, sae)


def attribute_one(batch: BatchRuns, sae: SparseAutoencoder) -> None:
    base = SiteBase.of(sae, [batch])
    attribute_site(base, site_tokens(batch, sae.site, effect_tokens(batch, base.name)))


def wide_sae(site: Site, x: torch.Tensor, width: int = WIDE) -> ReluAutoencoder:
    """A wide SAE with random unit directions and a threshold that one in 1,500 of its features passes a token."""
    generator = torch.Generator().manual_seed(site.layer * 3 + KINDS.index(site.kind))
    W_dec = torch.nn.functional.normalize(torch.randn(width, x.shape[1], generator=generator), dim=1)
    centre = x.mean(0)
    # A random direction sees a normal value of this size; 3.2 times it is passed by one in 1,500.
    size = float((x - centre).square().sum(1).mean().sqrt()) / x.shape[1] ** 0.5
    threshold = torch.full((width,), 3.2 * size)
    return ReluAutoencoder(site, "random", W_dec.T.contiguous(), -centre @ W_dec.T, W_dec, centre, threshold)


def wide_saes(lm: LanguageModel, pairs: list[Pair]) -> Iterator[ReluAutoencoder]:
    sites = [Site(kind, layer) for layer in range(lm.n_layers) for kind in KINDS]
    batch = run_batch(lm, pairs, sites, Question())
    return (wide_sae(site, batch.clean.x[site][batch.usable]) for site in sites)


def memory_lines() -> list[str]:
    """Peak resident memory with 1 and with 18 wide SAEs, each in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        few, many = Path(name) / "few", Path(name) / "many"
        one = 0.0
        for sae in wide_saes(*prepared()):
            write_sae(sae, many / str(sae.site))
            one = sae.n_bytes / 2**20
        shutil.copytree(many / "resid_post.0", few / "resid_post.0")
        peaks = {}
        for n, folder in ((1, few), (18, many)):
            command = [sys.executable, BENCHMARK, "cost", "--memory-of", str(folder)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            peaks[n] = json.loads(done.stdout.splitlines()[-1])
    lines = [
        "",
        "## Memory",
        "",
        f"Peak resident memory of a process that opens the bundled model and attributes with SAEs of {WIDE:,} features "
        f"({one:.0f} MB each in float32), streamed: while one is in use the next is read.",
        "",
        "| SAEs | their weights, MB | before attribution, MB | peak above that, MB |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for n, peak in peaks.items():
        lines.append(f"| {n} | {n * one:.0f} | {peak['before']:.0f} | {peak['above']:.0f} |")
    return lines


def write_sae(sae: ReluAutoencoder, folder: Path) -> None:
    folder.mkdir(parents=True)
    metadata = {"hook_name": sae.site.hook_name}
    config = {"architecture": "jumprelu", "d_in": sae.d_in, "d_sae": sae.d_sae, "metadata": metadata}
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = {name: getattr(sae, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")}
    save_file(tensors, folder / "sae_weights.safetensors")


def peak_memory(folder: Path) -> dict[str, float]:
    """Resident memory in MB before attribution and at its peak, in this process."""
    lm, pairs = prepared()
    files = list(find_saes(str(folder)).values())
    # Captured runs of all sites in both cases, so that only the SAEs differ.
    sites = [Site(kind, layer) for layer in range(lm.n_layers) for kind in KINDS]
    batch = run_batch(lm, pairs, sites, Question())
    before = resident_bytes() or 0
    with measure_peak(lm.device, before) as peak:
        for sae in stream_saes(files, lm.device):
            attribute_one(batch, sae)
    return {"before": before / 2**20, "above": (peak.n_bytes or 0) / 2**20}
