"""What does bfloat16 cost? Attributions of the same pairs in bfloat16 and in float32, on two models.

The bundled model with all its SAEs, and Gemma 2 2B's shape with random weights, cut to a few layers, with residual SAEs
of 16,384 features. Writes a section of docs/accuracy.md.

    python scripts/benchmark_dtype.py CACHE [--layers 3] [--lists 10] [--out docs]
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from make_random_checkpoint import gemma_2, write_model, write_published
from saeattr.behaviours.pair import Pair
from sections import markdown, replace_section
from torch import Tensor

from saeattr import bundle
from saeattr.attribution.group import AttributionPlan, attribute_site_tokens
from saeattr.attribution.rounding import LARGE, Rounding, measure_rounding, typical
from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import sample_lists
from saeattr.model.hub import MODELS
from saeattr.model.loading import load_model, load_tokenizer
from saeattr.runs.base import Base
from saeattr.runs.batch import run_batch
from saeattr.runs.metric import make_metric
from saeattr.saes.catalogue import pick_saes
from saeattr.saes.loading import find_saes, stream_saes
from saeattr.sites import Site

TOPICS = ("cities", "animals")
TOP = 20
BASES_TRIED: tuple[Base, ...] = ("corrupted", "zero")
#: Lists for the estimate that a run can afford.
CHEAP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cache", type=Path, help="where the random checkpoint is written (3 GB)")
    parser.add_argument("--layers", type=int, default=3, help="of the random model")
    parser.add_argument("--lists", type=int, default=10, help="lists for each of two groups")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    small = load_model("bundled", device="cpu")
    pairs, _ = make_pairs(
        small.tokenizer, [one for group in TOPICS for one in sample_lists(small, group, options.lists)]
    )
    folder = write_checkpoint(options.cache, options.layers)
    models = {"bundled": ("bundled", "bundled"), "random 2B": (str(folder), str(options.cache))}
    tables = {name: compare(model, saes, pairs) for name, (model, saes) in models.items()}
    write_section(tables, options, len(pairs))


def write_checkpoint(cache: Path, layers: int) -> Path:
    """Gemma 2 2B's shape with a few layers, and its residual SAEs of 16,384 features."""
    config, known = gemma_2("full"), MODELS["gemma-2-2b-it"]
    config.num_hidden_layers = layers
    config.layer_types = config.layer_types[:layers] if config.layer_types else None
    folder = write_model(cache, known.hub, config, load_tokenizer(bundle.MODEL_FOLDER), 10**9)
    chosen = [sae for site, sae in pick_saes(known.releases, "16k").items() if wanted(site, layers)]
    write_published(cache, chosen, known.hub)
    return folder


def wanted(site: Site, layers: int) -> bool:
    return site.kind == "resid_post" and site.layer < layers


def compare(model: str, saes: str, pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row for each site."""
    runs: dict[str, tuple[dict[tuple[Base, Site], Tensor], Tensor]] = {}
    cheap: dict[Site, list[Rounding]] = {}
    for dtype in ("float32", "bfloat16"):
        lm = load_model(model, device="cpu", dtype=dtype)
        metric = make_metric("end-vs-continue", lm.tokenizer)
        files = list(find_saes(saes).values())
        batch = run_batch(lm, pairs, [file.site for file in files], metric, "last")
        assert batch.clean.metric is not None
        effects = {}
        for sae in stream_saes(files, lm.device):
            for base in BASES_TRIED:
                tokens, found, _ = attribute_site_tokens(lm, sae, batch, AttributionPlan(metric, base=base))
                at = (tokens.row[found.token], found.feature)
                sums = torch.zeros(len(pairs), sae.d_sae).index_put(at, found.effect, accumulate=True)
                effects[base, sae.site] = sums
            if dtype == "bfloat16":
                cheap[sae.site] = [measure_rounding(lm, pair, sae, metric) for pair in pairs[:CHEAP]]
        runs[dtype] = effects, batch.clean.metric
        del lm, batch
        gc.collect()
    rows = []
    metric_change = (runs["bfloat16"][1] - runs["float32"][1]).abs()
    for (base, site), exact in runs["float32"][0].items():
        rows.append({"base": base, "site": str(site), **differences(runs["bfloat16"][0][base, site], exact)})
        if base == "corrupted":
            rows[-1]["the run's own estimate"] = f"{typical(cheap[site]):.3f}"
        rows[-1]["metric"] = float(metric_change.mean())
    return pd.DataFrame(rows).fillna("")


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


def write_section(tables: dict[str, pd.DataFrame], options: argparse.Namespace, n_pairs: int) -> None:
    lines = [
        "# What bfloat16 costs",
        "",
        f"Made by `python scripts/benchmark_dtype.py`: {n_pairs} pairs ({', '.join(TOPICS)}), attribution patching "
        "with the model in bfloat16 and in float32 (SAEs and metric in float32 in both). pearson: over (list, "
        "feature). difference: |bf16 - float32| / |float32|, Euclidean norms over all effects of the site; median and "
        "worst list: the same of one list. top 20: features in both top twenties by |mean effect|. active in one only: "
        "share of (list, feature) with an effect in one dtype and none in the other. the run's own estimate: "
        f"`measure_rounding`, median of {CHEAP} pairs against the same weights in float32, layer by layer, which a run "
        f"can afford; `dtype_warning` warns above {LARGE:g}.",
        "",
        "A JumpReLU feature at its threshold is on in one dtype and off in the other, with its whole activation: of it "
        f"from those is the share of the squared difference that such (list, feature) make. {threshold_share(tables)}",
        "",
        f"**The warning.** {LARGE:g} is a judgement: no measurement here sets it. {missed(tables)}",
    ]
    for name, table in tables.items():
        shape = "The bundled model"
        if name != "bundled":
            shape = f"Gemma 2 2B's shape, {options.layers} layers, random weights"
        lines += ["", f"## {shape}", ""]
        for base, own in table.groupby("base", sort=False):
            lines.append(
                f"Base {base}: median difference {own['difference'].median():.3f}, largest "
                f"{own['difference'].max():.3f}; lowest Pearson {own['pearson'].min():.4f}."
            )
        lines += [f"Mean change of the metric: {table['metric'].iloc[0]:.3f} logits.", ""]
        lines.append(markdown(table.drop(columns="metric").sort_values("base", kind="stable")))
    replace_section(options.out / "accuracy.md", "dtype", lines)


def threshold_share(tables: dict[str, pd.DataFrame]) -> str:
    """Where features at their threshold make most of the difference, and where they do not."""
    parts = []
    for name, table in tables.items():
        most = table["of it from those"] > 0.5
        found = [f"{row.site} ({row.base}, {100 * row.share:.0f} %)" for row in renamed(table)[most].itertuples()]
        rest = 100 * table.loc[~most, "of it from those"]
        parts.append(
            f"{name} model: more than half of it at {', '.join(found) or 'no site'}, {rest.min():.0f} to "
            f"{rest.max():.0f} % at the others"
        )
    return f"{'; '.join(parts)}. What makes the rest is not explained here."


def missed(tables: dict[str, pd.DataFrame]) -> str:
    """The site whose five lists say least about all of them."""
    own = renamed(pd.concat(tables.values())).query("base == 'corrupted'")
    row = own.loc[own.index[(own["difference"] / own["estimate"].astype(float)).argmax()]]
    return (
        f"The median of {CHEAP} lists misses what one list makes: at {row['site']} it read {row['estimate']} against a "
        f"difference of {row['difference']:.3f} over all lists (worst list {row['worst list']:.3f})."
    )


def renamed(table: pd.DataFrame) -> pd.DataFrame:
    names = {"of it from those": "share", "the run's own estimate": "estimate"}
    return table.rename(columns=names).reset_index(drop=True)


if __name__ == "__main__":
    main()
