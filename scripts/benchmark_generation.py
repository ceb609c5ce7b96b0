"""Do lists grow when top features are ablated while generating? At every site and base, against matched controls.

Bundled model, all its SAEs, short lists. Features are ranked with the corrupted base, by attribution patching, exact
effects and integrated gradients, and held at their corrupted, zero or mean value. Writes docs/generation.md and its
figure.

    python scripts/benchmark_generation.py [--lists 10] [--out docs] [--rows ROWS.parquet] [--page-only]
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
from generation_page import write_page
from saeattr.files import write_table
from torch import Tensor

from saeattr.attribution.group import AttributionPlan, Method, attribute_site_tokens
from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import sample_lists
from saeattr.generation.ablation import Edit, Sampling, sample_edited
from saeattr.generation.group import compare_site
from saeattr.generation.summary import measure_list
from saeattr.model.loading import LanguageModel, load_model
from saeattr.runs.base import BASES, Base
from saeattr.runs.batch import BatchRuns, run_batch
from saeattr.runs.effects import feature_effects
from saeattr.runs.metric import make_metric
from saeattr.saes.loading import SaeFile, find_saes, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site
from saeattr.validation.joint import FeatureSet, joint_effects

TOPICS = ("cities", "animals", "rivers", "movies")
METHODS: tuple[Method, ...] = ("attribution", "ig")
#: So many features of a ranking are ablated together.
SIZES = (5, 10, 20)
#: Sets of controls for each size.
CONTROL_SETS = {5: 3, 10: 2, 20: 2}
#: The search for five features that do most together, and the order by exact effect, look among the first so many of
#: each ranking.
CANDIDATES = 30
COPIES = 64
#: Where the whole activation of the corrupted run is put.
PLACES = ("length word", "prompt", "answer")
#: What tells one setting's rows from another's.
COLUMNS = ["kind", "layer", "base", "ranking", "n_features"]


@dataclass(frozen=True)
class Setting:
    """What is ablated at a site: the first features of a ranking; the whole activation where ``n_features`` is -1."""

    site: Site
    ranking: str
    n_features: int
    base: Base = "corrupted"

    @property
    def columns(self) -> dict[str, Any]:
        """What tells the setting's rows from others'."""
        values = (self.site.kind, self.site.layer, self.base, self.ranking, self.n_features)
        return dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lists", type=int, default=10, help="lists for each of four groups and each condition")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument(
        "--rows", type=Path, default=Path("runs/generation.parquet"), help="lists are kept here; what is not is sampled"
    )
    parser.add_argument("--page-only", action="store_true", help="sample nothing more")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.page_only:
        measure(options.lists, options.rows)
    write_page(pd.read_parquet(options.rows), options.out, TOPICS)


def measure(n_pairs: int, path: Path) -> None:
    """Add to the rows of ``path``, setting by setting, each with all groups: what was ablated is in their columns."""
    rows = pd.read_parquet(path) if path.exists() else pd.DataFrame()
    done = {tuple(row) for row in rows[COLUMNS].drop_duplicates().to_numpy()} if len(rows) else set()
    wanted = settings(list(find_saes("bundled")))
    missing = [setting for setting in wanted if tuple(setting.columns.values()) not in done]
    if not missing:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    bench = read_bench(n_pairs)
    for setting in missing:
        rows = pd.concat([rows, *(sample_setting(bench, setting, group) for group in TOPICS)], ignore_index=True)
        write_table(path, rows)
        print(setting, flush=True)


def settings(sites: Sequence[Site]) -> list[Setting]:
    """What matters most first, so that a run cut short says something."""
    sites = sorted(sites, key=lambda site: (site.kind != "attn_z", site.kind, site.layer))
    stream = [site for site in sites if site.kind == "resid_post"]
    chosen = [Setting(site, "attribution", SIZES[0], base) for base in BASES for site in sites]
    for ranking, sizes in (("exact", SIZES[:1]), ("attribution", SIZES[1:]), ("ig", (SIZES[0], SIZES[-1]))):
        chosen += [Setting(site, ranking, size) for size in sizes for site in sites]
    chosen += [Setting(site, "exact", SIZES[0], base) for base in BASES[1:] for site in sites]
    chosen += [Setting(site, "search", SIZES[0]) for site in stream]
    return chosen + [Setting(site, where, -1) for site in stream for where in PLACES]


@dataclass(frozen=True, eq=False)
class Bench:
    """The model, its SAEs and every group's runs, read once for all settings."""

    lm: LanguageModel
    files: dict[Site, SaeFile]
    batches: dict[str, BatchRuns]
    n_pairs: int


def read_bench(n_pairs: int) -> Bench:
    lm, files = load_model("bundled", device="cpu"), find_saes("bundled")
    batches = {}
    for group in TOPICS:
        pairs, _ = make_pairs(lm.tokenizer, sample_lists(lm, group, n_pairs))
        batches[group] = run_batch(lm, pairs, list(files), make_metric("end-vs-continue", lm.tokenizer), "last")
    return Bench(lm, files, batches, n_pairs)


def sample_setting(bench: Bench, setting: Setting, group: str) -> pd.DataFrame:
    """Rows of lists of one setting and group."""
    lm, batch = bench.lm, bench.batches[group]
    if setting.n_features < 0:
        return whole_site(lm, setting.site, batch, setting.ranking, bench.n_pairs).assign(**setting.columns)
    order, joint = order_features(bench, setting.site, setting.ranking, group)
    found = compare_site(
        lm,
        [batch],
        load_sae(bench.files[setting.site]),
        order[: setting.n_features],
        setting.base,
        Sampling(),
        n_pairs=bench.n_pairs,
        n_sets=0 if setting.ranking == "search" else CONTROL_SETS[setting.n_features],
        steer=setting == Setting(setting.site, METHODS[0], SIZES[0]),
    )
    return found.assign(**setting.columns, joint=joint)


@functools.cache
def order_features(bench: Bench, site: Site, ranking: str, group: str) -> tuple[list[int], float]:
    """Features in the order of a ranking, corrupted base; and for a search their joint effect, else NaN."""
    lm, file, batch = bench.lm, bench.files[site], bench.batches[group]
    plan = AttributionPlan(make_metric("end-vs-continue", lm.tokenizer))
    rankings = {
        method: rank(lm, load_sae(file), batch, dataclasses.replace(plan, method=method))
        for method in METHODS
        if ranking not in METHODS or method == ranking
    }
    if ranking == "search":
        return best_together(lm, file, batch, plan, rankings)
    if ranking == "exact":
        features = torch.tensor(candidates(rankings))
        effects = feature_effects(lm, batch, load_sae(file), features, plan.metric, plan.base, COPIES).mean(1)
        return features[effects.abs().argsort(descending=True, stable=True)].tolist(), float("nan")
    return next(iter(rankings.values())), float("nan")


def rank(lm: LanguageModel, sae: SparseAutoencoder, batch: BatchRuns, plan: AttributionPlan) -> list[int]:
    """All features, the largest |mean effect| with the corrupted base first."""
    _, found, _ = attribute_site_tokens(lm, sae, batch, plan)
    effects = torch.zeros(sae.d_sae).index_add(0, found.feature, found.effect)
    return effects.abs().argsort(descending=True, stable=True).tolist()


def candidates(rankings: dict[Any, list[int]]) -> list[int]:
    """The first features of every ranking, none twice."""
    return list(dict.fromkeys(feature for order in rankings.values() for feature in order[:CANDIDATES]))


def best_together(
    lm: LanguageModel, file: SaeFile, batch: BatchRuns, plan: AttributionPlan, rankings: dict[Any, list[int]]
) -> tuple[list[int], float]:
    """Five features chosen one after the other so that patching them together lowers the metric most.

    Returns:
        the features, and their exact joint effect as a share of patching the whole site.
    """
    open_ones = candidates(rankings)
    chosen: list[int] = []
    effect = 0.0
    for _ in range(SIZES[0]):
        sets = [FeatureSet({file.site: [*chosen, one]}) for one in open_ones]
        effects = joint_effects(lm, [batch], [file], sets, plan.metric, plan.base, COPIES).mean(1)
        effect = float(effects.min())
        chosen.append(open_ones.pop(int(effects.argmin())))
    assert batch.clean.metric is not None
    assert batch.corrupted.metric is not None
    return chosen, effect / float((batch.corrupted.metric - batch.clean.metric).mean())


def whole_site(lm: LanguageModel, site: Site, batch: BatchRuns, where: str, n_pairs: int) -> pd.DataFrame:
    """x of the corrupted run in place of the whole activation, at one of ``PLACES`` only."""
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

    edits: dict[str, Edit] = dict(zip(PLACES, (at_length_word, in_prompt, in_answer), strict=True))
    group = batch.pairs[0].group
    lists = sample_edited(lm, group, n_pairs, site, edits[where], 0, Sampling(), corrupted_run=True)
    return pd.DataFrame([measure_list(one) for one in lists]).assign(group=group, condition="features")


if __name__ == "__main__":
    main()
