"""How good are the estimates? Every method against exact effects, on the bundled model and on a deeper one.

All active features of at least 50 pairs: the estimated effect of setting one feature to its base value at all its
positions in one list, against the measured effect. Each site and base is stored when it is done, so an interrupted run
goes on, and the page is written from what there is. Writes the first section of docs/accuracy.md, and its figure.

    python scripts/build_bundled.py --deep runs/deep
    python scripts/benchmark_accuracy.py [--deep runs/deep] [--rows runs/accuracy] [--out docs] [--model bundled]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accuracy_page import write_page
from torch import Tensor

from saeattr.attribution.group import AttributionPlan, Method, attribute_site_tokens
from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import sample_lists
from saeattr.model.loading import LanguageModel, load_model
from saeattr.runs.base import BASES, Base, SiteMeans, site_means
from saeattr.runs.batch import BatchRuns, run_batch
from saeattr.runs.effects import feature_effects
from saeattr.runs.metric import Metric, make_metric
from saeattr.saes.loading import SaeFile, find_saes, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site

#: Both models know these.
TOPICS = ("animals", "car brands", "cities", "colors", "countries")
#: Column, method and steps.
METHODS: tuple[tuple[str, Method, int], ...] = (
    ("attribution", "attribution", 1),
    ("relp", "relp", 1),
    ("ig 5", "ig", 5),
    ("ig 10", "ig", 10),
)
COPIES = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lists", type=int, default=10, help="lists for each of five groups")
    parser.add_argument("--deep", type=Path, default=Path("runs/deep"), help="made by build_bundled.py --deep")
    parser.add_argument("--rows", type=Path, default=Path("runs/accuracy"), help="where measured sites are kept")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--model", choices=["bundled", "deep"], help="measure this one only, and write no page")
    parser.add_argument("--page-only", action="store_true", help="measure nothing more")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.rows.mkdir(parents=True, exist_ok=True)
    for name in [] if options.page_only else [options.model] if options.model else ["bundled", "deep"]:
        where = ("bundled", "bundled") if name == "bundled" else (f"{options.deep}/model", f"{options.deep}/saes")
        measure_model(name, *where, options.lists, options.rows)
    if options.model is None:
        rows = pd.concat([pd.read_parquet(path) for path in sorted(options.rows.glob("*.parquet"))])
        write_page(rows, options.out, TOPICS, load_model(f"{options.deep}/model", device="cpu").n_layers)


def measure_model(name: str, model: str, saes: str, n_pairs: int, folder: Path) -> None:
    """One table for each site and base, in the order of ``wanted``."""
    lm = load_model(model, device="cpu")
    files = find_saes(saes)
    metric = make_metric("end-vs-continue", lm.tokenizer)
    plain: list[BatchRuns] = []
    relevance: list[BatchRuns] = []
    for group in TOPICS:
        pairs, _ = make_pairs(lm.tokenizer, sample_lists(lm, group, n_pairs))
        plain.append(run_batch(lm, pairs, list(files), metric, "last"))
        relevance.append(run_batch(lm, pairs, list(files), metric, "last", relevance=True))
    for base, site in wanted(list(files)):
        path = folder / f"{name}-{site}-{base}.parquet"
        if path.exists():
            continue
        rows = measure_site(lm, files[site], base, metric, plain, relevance)
        rows.assign(model=name, kind=site.kind, layer=site.layer, base=base).to_parquet(path)
        print(name, site, base, len(rows), flush=True)


def wanted(sites: Sequence[Site]) -> list[tuple[Base, Site]]:
    """What matters most first, so that a run cut short says something.

    Every other layer before the rest; there the default base before the others, and those in the residual stream first.
    """
    layers = sorted({site.layer for site in sites})

    def turn(one: tuple[Base, Site]) -> tuple[Any, ...]:
        base, site = one
        off_stream = site.kind != "resid_post"
        return layers.index(site.layer) % 2, base != "corrupted" and off_stream, base != "corrupted", off_stream, base

    return sorted(((base, site) for base in BASES for site in sites), key=turn)


def measure_site(
    lm: LanguageModel,
    file: SaeFile,
    base: Base,
    metric: Metric,
    plain: Sequence[BatchRuns],
    relevance: Sequence[BatchRuns],
) -> pd.DataFrame:
    """One row for each list and active feature: group, pair_id, feature, exact, and a column for each method."""
    sae = load_sae(file)
    tables = []
    for batch, with_rules in zip(plain, relevance, strict=True):
        means = site_means(sae, batch.clean.x[sae.site][batch.usable]) if base == "mean" else None
        columns: dict[str, Tensor] = {}
        active = torch.zeros(len(batch.pairs), sae.d_sae, dtype=torch.bool)
        for column, method, steps in METHODS:
            plan = AttributionPlan(metric, base=base, method=method, ig_steps=steps, batch_size=COPIES)
            own = with_rules if method == "relp" else batch
            columns[column], active = estimate(lm, sae, own, plan, means)
        features = active.any(0).nonzero()[:, 0]
        exact = feature_effects(lm, batch, sae, features, metric, base, COPIES, means)
        row, nth = active[:, features].nonzero(as_tuple=True)
        feature = features[nth]
        table = pd.DataFrame({name: values[row, feature].numpy() for name, values in columns.items()})
        table.insert(0, "exact", exact[nth, row].numpy())
        table.insert(0, "feature", feature.numpy())
        table.insert(0, "pair_id", [batch.pairs[at].pair_id for at in row.tolist()])
        table.insert(0, "group", batch.pairs[0].group)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def estimate(
    lm: LanguageModel, sae: SparseAutoencoder, batch: BatchRuns, plan: AttributionPlan, means: SiteMeans | None
) -> tuple[Tensor, Tensor]:
    """Estimated effects summed over positions, and where there is an entry; both [list, feature]."""
    tokens, found, _ = attribute_site_tokens(lm, sae, batch, plan, means)
    at = (tokens.row[found.token], found.feature)
    effects = torch.zeros(len(batch.pairs), sae.d_sae).index_put(at, found.effect, accumulate=True)
    active = torch.zeros(len(batch.pairs), sae.d_sae, dtype=torch.bool)
    active[at] = True
    return effects, active


if __name__ == "__main__":
    main()
