"""May an SAE's weights be held in bfloat16? What that changes in the tables, with all arithmetic still in float32.

W_enc, W_dec or both are rounded to bfloat16 and used as float32; thresholds and biases are not touched. The bundled
SAEs, and random ones of 16,384 features at the same sites. Writes a section of docs/accuracy.md and its tables in
docs/measured/accuracy.md.

    python scripts/benchmark.py weights [--lists 10] [--out docs]
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks.cases import asked, list_pairs
from benchmarks.cost.measure import WIDE, wide_saes
from benchmarks.dtype.weights_page import write_page
from saeattr.attribution.site import attribute_site
from saeattr.model.loading import load_model
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, clean_tokens, effect_tokens, run_batch, site_tokens
from saeattr.runs.question import Question
from saeattr.saes.loading import find_saes, stream_saes
from saeattr.saes.sae import ReluAutoencoder, SparseAutoencoder
from saeattr.settings import BaseName

TOPICS = ("cities", "animals")
BASES_TRIED: tuple[BaseName, ...] = ("corrupted", "zero")
#: What is held in bfloat16.
HELD = {"W_enc and W_dec": ("W_enc", "W_dec"), "W_enc": ("W_enc",), "W_dec": ("W_dec",)}
#: Stated before anything was measured: no effect of a list moves by more than this share of its site's largest, and
#: the features that come first are the same in the same order.
TOLERANCE, TOP = 0.01, 50


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lists", type=int, default=10, help="lists for each of two topics")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--quick", action="store_true", help="two lists, to see that it runs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    lm = load_model("bundled", device="cpu")
    pairs = list_pairs(lm, TOPICS, 1 if options.quick else options.lists)
    files = list(find_saes().values())
    batch = run_batch(lm, pairs, [file.site for file in files], Question())
    groups = {"the bundled SAEs": stream_saes(files, lm.device), f"random, {WIDE:,} wide": wide_saes(lm, pairs)}
    rows = [row for name, saes in groups.items() for sae in saes for row in compare(name, sae, batch)]
    write_page(pd.DataFrame(rows), options.out, f"{len(pairs)} pairs ({', '.join(TOPICS)})", (TOLERANCE, TOP))


def compare(name: str, sae: SparseAutoencoder, batch: BatchRuns) -> Iterator[dict[str, Any]]:
    """One row for each base and for what is held in bfloat16."""
    assert isinstance(sae, ReluAutoencoder)
    rounded = {held: with_rounded(sae, names) for held, names in HELD.items()}
    for base in BASES_TRIED:
        own = asked(batch, base=base)
        exact = effects(sae, own)
        for held, other in rounded.items():
            row = {"SAEs": name, "base": base, "site": str(sae.site), "in bfloat16": held}
            yield {**row, **differences(effects(other, own), exact), **activity(other, sae, batch)}


def with_rounded(sae: ReluAutoencoder, names: Sequence[str]) -> ReluAutoencoder:
    """The SAE as it is computed with when the named weights are held in bfloat16 and used in float32."""
    held: dict[str, Any] = {name: getattr(sae, name).to(torch.bfloat16).float() for name in names}
    return dataclasses.replace(sae, **held)


def effects(sae: SparseAutoencoder, batch: BatchRuns) -> Tensor:
    """By attribution patching, summed over positions, [list, feature]."""
    tokens = site_tokens(batch, sae.site, effect_tokens(batch, batch.question.base))
    found = attribute_site(SiteBase.of(sae, [batch]), tokens)
    at = (tokens.row[found.token], found.feature)
    return torch.zeros(len(batch.pairs), sae.d_sae).index_put(at, found.effect, accumulate=True)


def differences(found: Tensor, exact: Tensor) -> dict[str, Any]:
    """Of effects [list, feature] with rounded weights against float32."""
    ranked = [effects.mean(0).abs().topk(min(TOP, effects.shape[1])) for effects in (found, exact)]
    # Features without an effect have no rank.
    order, wanted = (ids[values > 0].tolist() for values, ids in ranked)
    moved = (found - exact).abs()
    switched = (found != 0) != (exact != 0)
    return {
        "largest change": float(moved.max() / exact.abs().max()),
        "of the mean": float((found - exact).mean(0).abs().max() / exact.mean(0).abs().max()),
        f"top {TOP} shared": len(set(order) & set(wanted)),
        "same order": order == wanted,
        "in one only": float(switched.sum() / ((found != 0) | (exact != 0)).sum()),
    }


def activity(other: SparseAutoencoder, sae: SparseAutoencoder, batch: BatchRuns) -> dict[str, float]:
    """Which (token, feature) are active in one only, and how far x_hat moves."""
    x = clean_tokens([batch], sae.site)
    f, g = sae.encode(x), other.encode(x)
    x_hat, y_hat = sae.decode(f), other.decode(g)
    return {
        "switched": float(((f > 0) != (g > 0)).sum() / ((f > 0) | (g > 0)).sum()),
        "x_hat": float((y_hat - x_hat).norm() / x_hat.norm()),
    }
