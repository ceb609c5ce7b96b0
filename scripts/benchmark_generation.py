"""Do lists grow when top features are ablated while generating? At every layer and base, against matched controls.

Bundled model, residual SAEs, short lists. Features are ranked with the corrupted base, by attribution patching and by
integrated gradients, and held at their corrupted, zero or mean value. Writes docs/generation.md and its figure.

    python scripts/benchmark_generation.py [--lists 10] [--out docs] [--rows ROWS.parquet]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from generation_page import write_page
from torch import Tensor

from saeattr.analysis.bases import BASES
from saeattr.analysis.batches import BatchRuns, run_batch
from saeattr.analysis.generation import Edit, Sampling, sample_edited
from saeattr.analysis.generation_table import measure_list
from saeattr.analysis.generation_topic import compare_site
from saeattr.analysis.joint import joint_effects
from saeattr.analysis.metrics import make_metric
from saeattr.analysis.site_patch import FeatureSet
from saeattr.analysis.topic import AttributionPlan, Method, attribute_site_tokens
from saeattr.model.loading import LanguageModel, load_model
from saeattr.prompts.pairs import make_pairs
from saeattr.prompts.sampling import sample_lists
from saeattr.saes.loading import SaeFile, find_saes, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site

TOPICS = ("cities", "animals", "rivers", "movies")
METHODS: tuple[Method, ...] = ("attribution", "ig")
#: So many features of a ranking are ablated together.
SIZES = (5, 20)
#: The search for five features that do most together looks among the first so many of each ranking.
CANDIDATES = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lists", type=int, default=10, help="lists for each of four topics and each condition")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--rows", type=Path, help="keep the lists' rows in this file, and use them if it is there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.rows and options.rows.exists():
        rows = pd.read_parquet(options.rows)
    else:
        rows = pd.concat(measure(options.lists), ignore_index=True)
        if options.rows:
            rows.to_parquet(options.rows)
    write_page(rows, options.out, TOPICS)


def measure(n_lists: int) -> Iterator[pd.DataFrame]:
    """Rows of lists, with what was ablated in the columns ``ranking``, ``n_features`` and ``joint``."""
    lm = load_model("bundled", device="cpu")
    files = [file for site, file in find_saes("bundled").items() if site.kind == "resid_post"]
    metric = make_metric("end-vs-continue", lm.tokenizer)
    for topic in TOPICS:
        pairs, _ = make_pairs(lm.tokenizer, sample_lists(lm, topic, n_lists))
        batch = run_batch(lm, pairs, [file.site for file in files], metric, "last")
        for file in files:
            sae = load_sae(file)
            rankings = {method: rank(lm, sae, batch, AttributionPlan(metric, method=method)) for method in METHODS}
            for ranking, order in rankings.items():
                yield from ablate(lm, sae, batch, ranking, order, n_lists)
            found, joint = best_together(lm, file, batch, AttributionPlan(metric), rankings)
            best = compare_site(
                lm, [batch], sae, found, "corrupted", Sampling(), n_lists=n_lists, n_sets=0, steer=False
            )
            yield best.assign(ranking="search", n_features=len(found), joint=joint)
            yield from whole_site(lm, sae.site, batch, n_lists)
            print(topic, sae.site, flush=True)


def rank(lm: LanguageModel, sae: SparseAutoencoder, batch: BatchRuns, plan: AttributionPlan) -> list[int]:
    """All features, the largest |mean effect| with the corrupted base first."""
    _, found, _ = attribute_site_tokens(lm, sae, batch, plan)
    effects = torch.zeros(sae.d_sae).index_add(0, found.feature, found.effect)
    return effects.abs().argsort(descending=True, stable=True).tolist()


def ablate(
    lm: LanguageModel, sae: SparseAutoencoder, batch: BatchRuns, ranking: str, order: list[int], n_lists: int
) -> Iterator[pd.DataFrame]:
    """The first five and twenty features of a ranking: five at every base, twenty at the corrupted one."""
    for n_features in SIZES:
        small = n_features == SIZES[0]
        for base in BASES if small and ranking == METHODS[0] else BASES[:1]:
            steer = small and ranking == METHODS[0] and base == "corrupted"
            found = compare_site(
                lm,
                [batch],
                sae,
                order[:n_features],
                base,
                Sampling(),
                n_lists=n_lists,
                n_sets=3 if small else 2,
                steer=steer,
            )
            yield found.assign(ranking=ranking, n_features=n_features)


def best_together(
    lm: LanguageModel, file: SaeFile, batch: BatchRuns, plan: AttributionPlan, rankings: dict[Any, list[int]]
) -> tuple[list[int], float]:
    """Five features chosen one after the other so that patching them together lowers the metric most.

    Returns:
        the features, and their exact joint effect as a share of patching the whole site.
    """
    candidates = list(dict.fromkeys(feature for order in rankings.values() for feature in order[:CANDIDATES]))
    chosen: list[int] = []
    effect = 0.0
    for _ in range(SIZES[0]):
        sets = [FeatureSet({file.site: [*chosen, one]}) for one in candidates]
        effects = joint_effects(lm, [batch], [file], sets, plan.metric, plan.base, 64).mean(1)
        effect = float(effects.min())
        chosen.append(candidates.pop(int(effects.argmin())))
    assert batch.clean.metric is not None
    assert batch.corrupted.metric is not None
    return chosen, effect / float((batch.corrupted.metric - batch.clean.metric).mean())


def whole_site(lm: LanguageModel, site: Site, batch: BatchRuns, n_lists: int) -> Iterator[pd.DataFrame]:
    """x of the corrupted run in place of the whole activation, at some tokens only."""
    # The edit does not see BOS.
    swap = slice(batch.pairs[0].swap_positions[0] - 1, batch.pairs[0].swap_positions[-1])

    def in_prompt(x: Tensor, corrupted: Tensor | None) -> Tensor:
        assert corrupted is not None
        return corrupted if x.shape[1] > 1 else x

    def in_answer(x: Tensor, corrupted: Tensor | None) -> Tensor:
        assert corrupted is not None
        return corrupted if x.shape[1] == 1 else x

    def at_length_word(x: Tensor, corrupted: Tensor | None) -> Tensor:
        assert corrupted is not None
        if x.shape[1] == 1:
            return x
        return torch.cat([x[:, : swap.start], corrupted[:, swap], x[:, swap.stop :]], dim=1)

    edits: dict[str, Edit] = {"length word": at_length_word, "prompt": in_prompt, "answer": in_answer}
    for where, edit in edits.items():
        lists = sample_edited(lm, batch.pairs[0].topic, n_lists, site, edit, 0, Sampling(), corrupted_run=True)
        rows = pd.DataFrame([measure_list(one) for one in lists]).assign(topic=batch.pairs[0].topic, layer=site.layer)
        yield rows.assign(kind=site.kind, base="corrupted", condition="features", ranking=where, n_features=-1)


if __name__ == "__main__":
    main()
