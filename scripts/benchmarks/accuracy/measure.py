"""How good are the estimates? Every method against exact effects, on the bundled model and on a deeper one.

All active features of at least 50 pairs: the estimated effect of setting one feature to its base value at all its
positions in one list, against the measured effect. Each site and base is stored when it is done, so an interrupted run
goes on, and the page is written from what there is. Writes the first section of docs/accuracy.md, its figure and its
tables in docs/measured/accuracy.md.

    python scripts/build_bundled.py --deep runs/deep
    python scripts/benchmark.py accuracy [--deep runs/deep] [--rows runs/accuracy] [--out docs] [--model bundled]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks.accuracy.page import write_page
from benchmarks.cases import asked, list_pairs
from saeattr.attribution.group import attribute_batch
from saeattr.attribution.methods import find_method
from saeattr.model.loading import load_model
from saeattr.runs.base import BASES, SiteBase
from saeattr.runs.batch import BatchRuns, run_batch
from saeattr.runs.effects import feature_effects
from saeattr.runs.question import Question
from saeattr.saes.loading import SaeFile, find_saes, load_sae
from saeattr.settings import BaseName
from saeattr.sites import Site

#: Both models know these.
TOPICS = ("animals", "car brands", "cities", "colors", "countries")
#: Column, and the method and steps that it stands for.
METHODS: dict[str, dict[str, Any]] = {
    "attribution": {"method": "attribution"},
    "relp": {"method": "relp"},
    "ig 5": {"method": "ig", "ig_steps": 5},
    "ig 10": {"method": "ig", "ig_steps": 10},
}
COPIES = 64
#: Layers of a quick run, and its topics and lists.
QUICK_LAYERS, QUICK_TOPICS, QUICK_LISTS = (1, 4), 2, 2


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lists", type=int, default=10, help="lists for each of five topics")
    parser.add_argument("--deep", type=Path, default=Path("runs/deep"), help="made by build_bundled.py --deep")
    parser.add_argument("--rows", type=Path, default=Path("runs/accuracy"), help="where measured sites are kept")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--model", choices=["bundled", "deep"], help="measure this one only, and write no page")
    parser.add_argument("--page-only", action="store_true", help="measure nothing more")
    parser.add_argument("--quick", action="store_true", help="two layers, topics and lists, to see that it runs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    topics = TOPICS[:QUICK_TOPICS] if options.quick else TOPICS
    options.rows.mkdir(parents=True, exist_ok=True)
    for name in [] if options.page_only else [options.model] if options.model else ["bundled", "deep"]:
        where = ("bundled", "bundled") if name == "bundled" else (f"{options.deep}/model", f"{options.deep}/saes")
        measure_model(name, where, topics, options)
    if options.model is None:
        rows = pd.concat([pd.read_parquet(path) for path in sorted(options.rows.glob("*.parquet"))])
        write_page(rows, options.out, topics, load_model(f"{options.deep}/model", device="cpu").n_layers)


def measure_model(name: str, where: tuple[str, str], topics: Sequence[str], options: argparse.Namespace) -> None:
    """One table for each site and base, in the order of ``wanted``."""
    lm, files = load_model(where[0], device="cpu"), find_saes(where[1])
    if options.quick:
        files = {site: file for site, file in files.items() if site.layer in QUICK_LAYERS}
    plain: list[BatchRuns] = []
    relevance: list[BatchRuns] = []
    for topic in topics:
        pairs = list_pairs(lm, [topic], QUICK_LISTS if options.quick else options.lists)
        plain.append(run_batch(lm, pairs, list(files), Question()))
        relevance.append(run_batch(lm, pairs, list(files), Question(), rules=find_method("relp").rules))
    for base, site in wanted(list(files)):
        path = options.rows / f"{name}-{site}-{base}.parquet"
        if path.exists():
            continue
        rows = measure_site(files[site], base, plain, relevance)
        rows.assign(model=name, kind=site.kind, layer=site.layer, base=base).to_parquet(path)
        print(name, site, base, len(rows), flush=True)


def wanted(sites: Sequence[Site]) -> list[tuple[BaseName, Site]]:
    """What matters most first, so that a run cut short says something.

    Every other layer before the rest; there the default base before the others, and those in the residual stream first.
    """
    layers = sorted({site.layer for site in sites})

    def turn(one: tuple[BaseName, Site]) -> tuple[Any, ...]:
        base, site = one
        off_stream = site.kind != "resid_post"
        return layers.index(site.layer) % 2, base != "corrupted" and off_stream, base != "corrupted", off_stream, base

    return sorted(((base, site) for base in BASES for site in sites), key=turn)


def measure_site(
    file: SaeFile, base_name: BaseName, plain: Sequence[BatchRuns], relevance: Sequence[BatchRuns]
) -> pd.DataFrame:
    """One row for each list and active feature: group, pair_id, feature, exact, and a column for each method."""
    sae = load_sae(file)
    tables = []
    for batch, with_rules in zip(plain, relevance, strict=True):
        base = SiteBase.of(sae, [asked(batch, base=base_name)])
        columns: dict[str, Tensor] = {}
        active = torch.zeros(len(batch.pairs), sae.d_sae, dtype=torch.bool)
        for column, how in METHODS.items():
            own = with_rules if how["method"] == "relp" else batch
            columns[column], active = estimate(base, asked(own, base=base_name, **how))
        features = active.any(0).nonzero()[:, 0]
        exact = feature_effects(asked(batch, base=base_name), base, features, COPIES)
        row, nth = active[:, features].nonzero(as_tuple=True)
        feature = features[nth]
        table = pd.DataFrame({name: values[row, feature].numpy() for name, values in columns.items()})
        table.insert(0, "exact", exact[nth, row].numpy())
        table.insert(0, "feature", feature.numpy())
        table.insert(0, "pair_id", [batch.pairs[at].pair_id for at in row.tolist()])
        table.insert(0, "group", batch.pairs[0].group)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def estimate(base: SiteBase, batch: BatchRuns) -> tuple[Tensor, Tensor]:
    """Estimated effects summed over positions, and where there is an entry; both [list, feature]."""
    measured = attribute_batch(base, batch, COPIES)
    at = (measured.tokens.row[measured.found.token], measured.found.feature)
    effects = torch.zeros(len(batch.pairs), base.sae.d_sae).index_put(at, measured.found.effect, accumulate=True)
    active = torch.zeros(len(batch.pairs), base.sae.d_sae, dtype=torch.bool)
    active[at] = True
    return effects, active
