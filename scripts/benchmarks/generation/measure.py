"""What do lists become without one, five and twenty features? At every site, against controls of equal length.

Bundled model, all its SAEs, short lists. Features are ranked by attribution patching with the corrupted base, and held
at their corrupted, zero or mean value. Writes docs/generation.md, its figure and its tables in
docs/measured/generation.md.

    python scripts/benchmark.py generation [--lists 10] [--out docs] [--rows ROWS.parquet] [--page-only]
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks.cases import asked, list_pairs
from benchmarks.generation.page import write_page
from saeattr.attribution.group import attribute_batch
from saeattr.behaviours.lists.sampling import Sampling
from saeattr.files import write_table
from saeattr.generation.ablation import Ablation, generate_conditions, sample_edited
from saeattr.generation.group import controlled_ablation
from saeattr.generation.moves import Edit, Move
from saeattr.generation.summary import measure_list
from saeattr.model.loading import LanguageModel, load_model
from saeattr.runs.base import BASES, SiteBase
from saeattr.runs.batch import BatchRuns, metric_gap, run_batch
from saeattr.runs.question import Pace, Question
from saeattr.saes.loading import SaeFile, find_saes, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.settings import BaseName
from saeattr.sites import Site
from saeattr.validation.joint import FeatureSet, joint_effects

TOPICS = ("cities", "animals", "rivers", "movies")
METHODS = ("attribution", "ig")
#: So many features of a ranking are ablated together; other bases, the search and steering are compared with five.
SIZES = (1, 5, 20)
FIVE = 5
#: Sets of controls for each size.
CONTROL_SETS = {1: 3, 5: 3, 20: 3}
#: The search for five features that do most together looks among the first so many of each method's ranking.
CANDIDATES = 30
COPIES = 64
#: Seed of the lists that are written; features were ranked on those of seed 0.
FRESH = 1
#: Where the whole activation of the corrupted run is put.
PLACES = ("length word", "prompt", "answer")
#: What tells one setting's rows from another's.
COLUMNS = ["kind", "layer", "base", "ranking", "n_features"]
#: Sites, topics and lists of a quick run.
QUICK_SITES, QUICK_TOPICS, QUICK_LISTS = (Site("attn_z", 1), Site("resid_post", 1)), TOPICS[:1], 2


@dataclass(frozen=True)
class Setting:
    """What is ablated at a site: the first features of a ranking; the whole activation where ``n_features`` is -1."""

    site: Site
    ranking: str
    n_features: int
    base: BaseName = "corrupted"

    @property
    def columns(self) -> dict[str, Any]:
        """What tells the setting's rows from others'."""
        values = (self.site.kind, self.site.layer, self.base, self.ranking, self.n_features)
        return dict(zip(COLUMNS, values, strict=True))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lists", type=int, default=10, help="lists for each of four topics and each condition")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument(
        "--rows", type=Path, default=Path("runs/generation.parquet"), help="lists are kept here; what is not is sampled"
    )
    parser.add_argument("--page-only", action="store_true", help="sample nothing more")
    parser.add_argument("--quick", action="store_true", help="two sites, one topic, two lists, to see that it runs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sites, topics = tuple(find_saes("bundled")), TOPICS
    if options.quick:
        sites, topics = QUICK_SITES, QUICK_TOPICS
    if not options.page_only:
        measure(sites, topics, QUICK_LISTS if options.quick else options.lists, options.rows)
    write_page(pd.read_parquet(options.rows), options.out, topics)


def measure(sites: Sequence[Site], topics: Sequence[str], n_lists: int, path: Path) -> None:
    """Add to the rows of ``path``, setting by setting, each with all topics: what was ablated is in their columns."""
    rows = pd.read_parquet(path) if path.exists() else pd.DataFrame()
    done = {tuple(row) for row in rows[COLUMNS].drop_duplicates().to_numpy()} if len(rows) else set()
    missing = [setting for setting in settings(sites) if tuple(setting.columns.values()) not in done]
    if not missing:
        return
    bench = read_bench(topics, n_lists)
    for setting in missing:
        rows = pd.concat([rows, *(sample_setting(bench, setting, topic) for topic in topics)], ignore_index=True)
        write_table(path, rows)
        print(setting, flush=True)


def settings(sites: Sequence[Site]) -> list[Setting]:
    """What matters most first, so that a run cut short says something."""
    stream = [site for site in sites if site.kind == "resid_post"]
    chosen = [Setting(site, "attribution", size) for size in SIZES for site in sites]
    chosen += [Setting(site, "attribution", FIVE, base) for base in BASES if base != "corrupted" for site in sites]
    chosen += [Setting(site, "search", FIVE) for site in stream]
    return chosen + [Setting(site, where, -1) for site in stream for where in PLACES]


@dataclass(frozen=True, eq=False)
class Bench:
    """The model, its SAEs and every topic's runs, read once for all settings."""

    lm: LanguageModel
    files: dict[Site, SaeFile]
    batches: dict[str, BatchRuns]
    n_lists: int


def read_bench(topics: Sequence[str], n_lists: int) -> Bench:
    lm, files = load_model("bundled", device="cpu"), find_saes("bundled")
    batches = {topic: run_batch(lm, list_pairs(lm, [topic], n_lists), list(files), Question()) for topic in topics}
    return Bench(lm, files, batches, n_lists)


def sample_setting(bench: Bench, setting: Setting, topic: str) -> pd.DataFrame:
    """Rows of lists of one setting and topic."""
    lm, batch = bench.lm, asked(bench.batches[topic], base=setting.base)
    if setting.n_features < 0:
        return whole_site(lm, setting.site, batch, setting.ranking, bench.n_lists).assign(**setting.columns)
    order, joint = order_features(bench, setting.site, setting.ranking, topic)
    base, features = SiteBase.of(load_sae(bench.files[setting.site]), [batch]), order[: setting.n_features]
    ablated = Ablation(base, features)
    if setting.ranking != "search":
        ablated = controlled_ablation(base, [batch], features, CONTROL_SETS[setting.n_features])
    if setting != Setting(setting.site, "attribution", FIVE):
        ablated = dataclasses.replace(ablated, steering=None)
    found = generate_conditions(lm, topic, ablated, Sampling(n_lists=bench.n_lists, seed=FRESH))
    return found.assign(**setting.columns, joint=joint)


@functools.cache
def order_features(bench: Bench, site: Site, ranking: str, topic: str) -> tuple[list[int], float]:
    """Features in the order of a ranking, corrupted base; and for a search their joint effect, else NaN."""
    file, batch = bench.files[site], bench.batches[topic]
    methods = METHODS if ranking == "search" else (ranking,)
    rankings = [rank(load_sae(file), asked(batch, method=method)) for method in methods]
    return best_together(file, batch, rankings) if ranking == "search" else (rankings[0], float("nan"))


def rank(sae: SparseAutoencoder, batch: BatchRuns) -> list[int]:
    """All features, the largest |mean effect| first, by the method and base asked of the runs."""
    found = attribute_batch(SiteBase.of(sae, [batch]), batch, Pace().batch_size).found
    effects = torch.zeros(sae.d_sae).index_add(0, found.feature, found.effect)
    return effects.abs().argsort(descending=True, stable=True).tolist()


def best_together(file: SaeFile, batch: BatchRuns, rankings: Sequence[list[int]]) -> tuple[list[int], float]:
    """Five features, each the one that together with those before it lowers the metric most when they are patched.

    Returns:
        the features, and their exact joint effect as a share of patching the whole site.
    """
    open_ones = list(dict.fromkeys(feature for order in rankings for feature in order[:CANDIDATES]))
    chosen: list[int] = []
    effect = 0.0
    for _ in range(FIVE):
        sets = [FeatureSet({file.site: [*chosen, one]}) for one in open_ones]
        effects = joint_effects([batch], [file], sets, COPIES).effects.mean(1)
        effect = float(effects.min())
        chosen.append(open_ones.pop(int(effects.argmin())))
    return chosen, effect / float(metric_gap([batch]).mean())


def whole_site(lm: LanguageModel, site: Site, batch: BatchRuns, where: str, n_lists: int) -> pd.DataFrame:
    """x of the corrupted run in place of the whole activation, at one of ``PLACES`` only."""
    # The edit does not see BOS.
    changed = batch.pairs[0].changed_positions
    swap = slice(changed[0] - 1, changed[-1])

    def in_prompt(x: Tensor, corrupted: Tensor | None) -> Tensor:
        assert corrupted is not None
        return corrupted - x if x.shape[1] > 1 else torch.zeros_like(x)

    def in_answer(x: Tensor, corrupted: Tensor | None) -> Tensor:
        assert corrupted is not None
        return corrupted - x if x.shape[1] == 1 else torch.zeros_like(x)

    def at_length_word(x: Tensor, corrupted: Tensor | None) -> Tensor:
        assert corrupted is not None
        moved = torch.zeros_like(x)
        if x.shape[1] > 1:
            moved[:, swap] = (corrupted - x)[:, swap]
        return moved

    moves: dict[str, Move] = dict(zip(PLACES, (at_length_word, in_prompt, in_answer), strict=True))
    topic = batch.pairs[0].group
    edit, sampling = Edit(site, moves[where]), Sampling(n_lists, seed=FRESH)
    (lists,) = sample_edited(lm, topic, [edit], sampling, corrupted_run=True)
    return pd.DataFrame([measure_list(one) for one in lists]).assign(group=topic, condition="features")
