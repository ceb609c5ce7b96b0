"""Is the layer selection any good? The share of the best possible choice of sites that each rule keeps.

A site's value: the sum of |exact effect| (mean over a group's lists) of its 20 features with the largest |mean
attribution|; corrupted base, end-vs-continue at the last newline. The oracle is the set of k sites with the largest
summed value; a rule's share is the value of the k sites it chooses, as a part of the oracle's. All bundled SAEs cost
the same. Each group is stored when it is done, so an interrupted run goes on. Writes docs/selection.md and its figure.

    python scripts/benchmark_selection.py [--lists 4] [--rows runs/selection.parquet] [--out docs] [--page-only]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd
import torch
from saeattr.files import read_table, write_table
from selection_page import write_page

from saeattr.attribution.site import attribute_site
from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import sample_lists
from saeattr.behaviours.lists.topics import TOPICS
from saeattr.model.loading import LanguageModel, load_model
from saeattr.runs.batch import BatchRuns, effect_tokens, run_batch, site_tokens
from saeattr.runs.effects import feature_effects
from saeattr.runs.metric import Metric, make_metric
from saeattr.saes.loading import find_saes, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.selection.measure import measure_sites

#: Features whose exact effects make a site's value.
TOP = 20
#: Edited copies in one forward.
COPIES = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lists", type=int, default=4, help="lists for each group not yet measured")
    parser.add_argument("--rows", type=Path, default=Path("runs/selection.parquet"), help="where measurements are kept")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--page-only", action="store_true", help="measure nothing more")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = read_table(options.rows) if options.rows.exists() else pd.DataFrame({"group": []})
    missing = [] if options.page_only else [group for group in TOPICS if group not in set(rows["group"])]
    if missing:
        lm = load_model("bundled", device="cpu")
        options.rows.parent.mkdir(parents=True, exist_ok=True)
    for group in missing:
        start = time.perf_counter()
        own = measure_group(lm, make_metric("end-vs-continue", lm.tokenizer), group, options.lists)
        rows = own if rows.empty else pd.concat([rows, own], ignore_index=True)
        write_table(options.rows, rows)
        print(f"{group}: {time.perf_counter() - start:.1f} s", flush=True)
    write_page(rows, options.out, TOP)


def measure_group(lm: LanguageModel, metric: Metric, group: str, lists: int) -> pd.DataFrame:
    """What the scores are made of and the exact effects, one below the other.

    Returns:
        table (lens, ablation, first_order: what ``score_sites`` takes; exact: one row for each site and feature),
        group, layer, kind, and that table's own columns.
    """
    pairs, _ = make_pairs(lm.tokenizer, sample_lists(lm, group, lists))
    files = find_saes("bundled")
    found = measure_sites(lm, pairs, list(files), metric, "last", lists, COPIES)
    batch = run_batch(lm, pairs, list(files), metric, "last")
    exact = [site_effects(lm, batch, load_sae(file), metric) for file in files.values()]
    tables = {
        "lens": found.lens,
        "ablation": found.ablation,
        "first_order": found.first_order,
        "exact": pd.concat(exact).assign(group=group),
    }
    return pd.concat([table.assign(table=name) for name, table in tables.items()], ignore_index=True)


@torch.no_grad()
def site_effects(lm: LanguageModel, batch: BatchRuns, sae: SparseAutoencoder, metric: Metric) -> pd.DataFrame:
    """layer, kind, feature, attribution, exact (means over lists) of the site's features of largest |attribution|."""
    found = attribute_site(sae, site_tokens(batch, sae.site, effect_tokens(batch, "corrupted")), "corrupted")
    sums = torch.zeros(sae.d_sae).index_add(0, found.feature, found.effect)
    features = sums.abs().topk(TOP).indices
    exact = feature_effects(lm, batch, sae, features, metric, "corrupted", COPIES).mean(1)
    return pd.DataFrame(
        {
            "layer": sae.site.layer,
            "kind": sae.site.kind,
            "feature": features.numpy(),
            "attribution": (sums[features] / len(batch.pairs)).numpy(),
            "exact": exact.numpy(),
        }
    )


if __name__ == "__main__":
    main()
