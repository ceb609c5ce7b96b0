"""Is the layer selection any good? The share of the best possible choice of sites that each rule keeps.

A site's value: the sum of |exact effect| (mean over a topic's lists) of its 20 features with the largest |mean
attribution|; corrupted base, end-vs-continue at the last newline. The oracle is the set of k sites with the largest
summed value; a rule's share is the value of the k sites it chooses, as a part of the oracle's. All bundled SAEs cost
the same. Each topic is stored when it is done, so an interrupted run goes on. Writes docs/selection.md, its figure and
its tables in docs/measured/selection.md.

    python scripts/benchmark.py selection [--lists 4] [--rows runs/selection.parquet] [--out docs] [--page-only]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from benchmarks.cases import list_pairs
from benchmarks.selection.page import write_page
from saeattr.attribution.site import attribute_site
from saeattr.behaviours.lists.topics import TOPICS
from saeattr.files import read_table, write_table
from saeattr.model.loading import LanguageModel, load_model
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, effect_tokens, run_batch, site_tokens
from saeattr.runs.effects import feature_effects
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.saes.loading import find_saes, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.selection.measure import measure_sites
from saeattr.tables import site_columns

#: Features whose exact effects make a site's value.
TOP = 20
#: Edited copies in one forward.
COPIES = 64
#: Topics and lists of a quick run: one topic that chooses weights, one that judges.
QUICK_TOPICS, QUICK_LISTS = 2, 1


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lists", type=int, default=4, help="lists for each topic not yet measured")
    parser.add_argument("--rows", type=Path, default=Path("runs/selection.parquet"), help="where measurements are kept")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--page-only", action="store_true", help="measure nothing more")
    parser.add_argument("--quick", action="store_true", help="two topics with one list each, to see that it runs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    topics = TOPICS[:QUICK_TOPICS] if options.quick else TOPICS
    rows = read_table(options.rows) if options.rows.exists() else pd.DataFrame({"group": []})
    missing = [] if options.page_only else [topic for topic in topics if topic not in set(rows["group"])]
    lm = load_model("bundled", device="cpu") if missing else None
    for topic in missing:
        assert lm is not None
        start = time.perf_counter()
        own = measure_topic(lm, topic, QUICK_LISTS if options.quick else options.lists)
        rows = own if rows.empty else pd.concat([rows, own], ignore_index=True)
        write_table(options.rows, rows)
        print(f"{topic}: {time.perf_counter() - start:.1f} s", flush=True)
    write_page(rows, options.out, TOP)


def measure_topic(lm: LanguageModel, topic: str, lists: int) -> pd.DataFrame:
    """What the scores are made of and the exact effects, one below the other.

    Returns:
        table (lens, ablation, first_order: what ``score_sites`` takes; exact: one row for each site and feature),
        group, layer, kind, and that table's own columns.
    """
    pairs, files = list_pairs(lm, [topic], lists), find_saes("bundled")
    found = measure_sites(Task(lm, pairs, list(files.values()), Question(), Pace(batch_size=COPIES)), lists)
    batch = run_batch(lm, pairs, list(files), Question())
    exact = [site_effects(batch, load_sae(file)) for file in files.values()]
    tables = {
        "lens": found.lens,
        "ablation": found.ablation,
        "first_order": found.first_order,
        "exact": pd.concat(exact).assign(group=topic),
    }
    return pd.concat([table.assign(table=name) for name, table in tables.items()], ignore_index=True)


@torch.no_grad()
def site_effects(batch: BatchRuns, sae: SparseAutoencoder) -> pd.DataFrame:
    """layer, kind, feature, attribution, exact (means over lists) of the site's features of largest |attribution|."""
    base = SiteBase.of(sae, [batch])
    found = attribute_site(base, site_tokens(batch, sae.site, effect_tokens(batch, base.name)))
    sums = torch.zeros(sae.d_sae).index_add(0, found.feature, found.effect)
    features = sums.abs().topk(TOP).indices
    exact = feature_effects(batch, base, features, COPIES).mean(1)
    table = pd.DataFrame(
        {
            "feature": features.numpy(),
            "attribution": (sums[features] / len(batch.pairs)).numpy(),
            "exact": exact.numpy(),
        }
    )
    return table.assign(**site_columns(sae.site))
