"""What does bfloat16 cost? Attributions of the same pairs in bfloat16 and in float32, on two models.

The bundled model with all its SAEs, and Gemma 2 2B's shape with random weights, cut to a few layers, with residual SAEs
of 16,384 features. Writes a section of docs/accuracy.md and its tables in docs/measured/accuracy.md.

    python scripts/benchmark.py dtype CACHE [--layers 3] [--lists 10] [--out docs]
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from make_random_checkpoint import gemma_2, write_model, write_published
from torch import Tensor

from benchmarks.cases import asked, list_pairs
from benchmarks.dtype.page import write_page
from saeattr import bundle
from saeattr.attribution.group import attribute_batch
from saeattr.attribution.rounding import Rounding, measure_rounding, typical
from saeattr.behaviours.pair import Pair
from saeattr.model.hub import MODELS
from saeattr.model.loading import load_model, load_tokenizer
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import run_batch
from saeattr.runs.question import Question
from saeattr.saes.catalogue import pick_saes
from saeattr.saes.loading import find_saes, stream_saes
from saeattr.settings import BaseName
from saeattr.sites import Site

TOPICS = ("cities", "animals")
TOP = 20
BASES_TRIED: tuple[BaseName, ...] = ("corrupted", "zero")
#: Lists for the estimate that a run can afford.
CHEAP = 5


@dataclasses.dataclass(frozen=True)
class InDtype:
    """What one dtype gave.

    Attributes:
        effects: summed over positions, [list, feature]. metric: of the clean prompts, [list].
        cheap: the run's own estimate, site by site; of bfloat16 only.
    """

    effects: dict[tuple[BaseName, Site], Tensor]
    metric: Tensor
    cheap: dict[Site, list[Rounding]]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cache", type=Path, help="where the random checkpoint is written (3 GB)")
    parser.add_argument("--layers", type=int, default=3, help="of the random model")
    parser.add_argument("--lists", type=int, default=10, help="lists for each of two topics")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--quick", action="store_true", help="two lists, a tiny random model, to see that it runs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    small = load_model("bundled", device="cpu")
    pairs = list_pairs(small, TOPICS, 1 if options.quick else options.lists)
    folder = write_checkpoint(options.cache, options.layers, "toy" if options.quick else "full")
    models = {"bundled": ("bundled", "bundled"), "random 2B": (str(folder), str(options.cache))}
    tables = {name: compare(model, saes, pairs) for name, (model, saes) in models.items()}
    write_page(tables, options.out, options.layers, f"{len(pairs)} pairs ({', '.join(TOPICS)})", CHEAP)


def write_checkpoint(cache: Path, layers: int, preset: str) -> Path:
    """Gemma 2 2B's shape with a few layers, and its residual SAEs of 16,384 features."""
    config, known = gemma_2(preset), MODELS["gemma-2-2b-it"]
    config.num_hidden_layers = layers
    config.layer_types = config.layer_types[:layers] if config.layer_types else None
    folder = write_model(cache, known.hub, config, load_tokenizer(bundle.MODEL_FOLDER), 10**9)
    chosen = [sae for site, sae in pick_saes(known.releases, "16k").items() if wanted(site, layers)]
    write_published(cache, chosen, known.hub)
    return folder


def wanted(site: Site, layers: int) -> bool:
    return site.kind == "resid_post" and site.layer < layers


def compare(model: str, saes: str, pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row for each site and base."""
    exact, cheap = (run_in(dtype, model, saes, pairs) for dtype in ("float32", "bfloat16"))
    rows = []
    metric_change = (cheap.metric - exact.metric).abs()
    for (base, site), effects in exact.effects.items():
        rows.append({"base": base, "site": str(site), **differences(cheap.effects[base, site], effects)})
        if base == "corrupted":
            rows[-1]["the run's own estimate"] = f"{typical(cheap.cheap[site]):.3f}"
        rows[-1]["metric"] = float(metric_change.mean())
    return pd.DataFrame(rows).fillna("")


def run_in(dtype: str, model: str, saes: str, pairs: Sequence[Pair]) -> InDtype:
    """Attribution patching of every site with the model in one dtype; SAEs and metric are in float32 in any."""
    lm = load_model(model, device="cpu", dtype=dtype)
    files = list(find_saes(saes).values())
    batch = run_batch(lm, pairs, [file.site for file in files], Question())
    assert batch.clean.metric is not None
    effects: dict[tuple[BaseName, Site], Tensor] = {}
    cheap: dict[Site, list[Rounding]] = {}
    for sae in stream_saes(files, lm.device):
        for name in BASES_TRIED:
            own = asked(batch, base=name)
            measured = attribute_batch(SiteBase.of(sae, [own]), own, len(pairs))
            at = (measured.tokens.row[measured.found.token], measured.found.feature)
            sums = torch.zeros(len(pairs), sae.d_sae).index_put(at, measured.found.effect, accumulate=True)
            effects[name, sae.site] = sums
        if dtype == "bfloat16":
            cheap[sae.site] = [measure_rounding(lm, pair, sae, batch.question) for pair in pairs[:CHEAP]]
    found = InDtype(effects, batch.clean.metric, cheap)
    del lm, batch
    gc.collect()
    return found


def differences(found: Tensor, exact: Tensor) -> dict[str, Any]:
    """Of effects [list, feature] in bfloat16 against float32."""
    relative = (found - exact).norm(dim=1) / exact.norm(dim=1)
    active = (found != 0) | (exact != 0)
    switched = (found != 0) != (exact != 0)
    top = [set(effects.mean(0).abs().topk(TOP).indices.tolist()) for effects in (found, exact)]
    return {
        "pearson": float(np.corrcoef(found[active], exact[active])[0, 1]),
        "difference": float((found - exact).norm() / exact.norm()),
        "median list": float(relative.median()),
        "worst list": float(relative.max()),
        "top 20": len(top[0] & top[1]) / TOP,
        "active in one only": float(switched.sum() / active.sum()),
        "of it from those": float((found - exact)[switched].square().sum() / (found - exact).square().sum()),
    }
