"""What does the SAE decide? The same site through SAEs of two recipes, with three seeds each.

SAEs of attn_z.1, where answers read the length asked for, are trained by the recipe of all bundled SAEs and by a nested
one. Each is asked how near estimates come to exact effects, and what lists become without its first five features, as
in the generation benchmark and on the same topics. Writes its section of docs/saes-decide.md.

    python scripts/benchmark.py generation-saes [--lists 10] [--out docs] [--rows ROWS.parquet] [--page-only]
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from build_bundled import CHATS_TO_TEST, CHATS_TO_TRAIN
from bundled.activations import collect, draw_batches
from bundled.corpus import load_facts, load_topics
from bundled.train_saes import SaeRecipe, check, save_sae, train_checked
from torch import Tensor
from transformers import AutoTokenizer, Gemma2ForCausalLM

from benchmarks.accuracy.measure import estimate
from benchmarks.cases import asked
from benchmarks.generation.claims import RANKINGS, judge
from benchmarks.generation.measure import CONTROL_SETS, COPIES, METHODS, SIZES, TOPICS, Bench, rank, read_bench
from benchmarks.generation.page import growth, interval
from benchmarks.sections import markdown, replace_section
from saeattr import bundle
from saeattr.behaviours.lists.sampling import Sampling
from saeattr.files import read_table, write_table
from saeattr.generation.ablation import generate_conditions
from saeattr.generation.group import controlled_ablation
from saeattr.runs.base import SiteBase
from saeattr.runs.effects import feature_effects
from saeattr.saes.loading import find_saes, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site

SITE = Site("attn_z", 1)
#: The recipe of all bundled SAEs; and a wider, sparser, nested one, chosen for five features that lengthen lists.
RECIPES = {
    "plain": SaeRecipe(),
    "nested": SaeRecipe(d_sae=768, k=14.0, steps=1600, prefixes=(8, 16, 32, 64, 128, 256)),
}
SEEDS = (0, 1, 2)
#: Of a quick run: chats to train on, seeds, topics and lists.
QUICK_CHATS, QUICK_SEEDS, QUICK_LISTS = 100, SEEDS[:1], 2


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lists", type=int, default=10, help="lists for each of four topics and each condition")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--rows", type=Path, default=Path("runs/generation-saes.parquet"), help="lists are kept here")
    parser.add_argument("--page-only", action="store_true", help="train and sample nothing")
    parser.add_argument("--quick", action="store_true", help="few chats, one seed and topic, to see that it runs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if not options.page_only:
        topics, n_lists = (TOPICS[:1], QUICK_LISTS) if options.quick else (TOPICS, options.lists)
        measure(topics, n_lists, options.quick, options.rows)
    replace_section(options.out / "saes-decide.md", "saes", section(pd.read_parquet(options.rows)))


def measure(topics: Sequence[str], n_lists: int, quick: bool, path: Path) -> None:
    """Add to the rows of ``path``, SAE by SAE: its lists, recipe, seed, how well it rebuilds other chats, agreement."""
    rows = read_table(path) if path.exists() else pd.DataFrame({"recipe": [], "sae_seed": []})
    done = {(recipe, int(seed)) for recipe, seed in rows[["recipe", "sae_seed"]].drop_duplicates().to_numpy()}
    missing = [(recipe, seed) for seed in (QUICK_SEEDS if quick else SEEDS) for recipe in RECIPES]
    missing = [one for one in missing if one not in done]
    if not missing:
        return
    bench, chats = read_bench(topics, n_lists), Chats.read(QUICK_CHATS if quick else None)
    for name, seed in missing:
        recipe = dataclasses.replace(RECIPES[name], **({"steps": QUICK_CHATS} if quick else {}))
        weights = train_checked(chats.train, chats.check, SITE, recipe, seed)
        with tempfile.TemporaryDirectory() as folder:
            save_sae(weights, SITE, Path(folder) / str(SITE))
            sae = load_sae(find_saes(folder)[SITE])
        unexplained, dead = check(weights, chats.test)
        own = sample(bench, sae).assign(recipe=name, sae_seed=seed, unexplained=unexplained, dead=dead)
        own = own.assign(**agreement(bench, sae))
        rows = own if rows.empty else pd.concat([rows, own], ignore_index=True)
        write_table(path, rows)
        print(name, seed, flush=True)


@dataclass(frozen=True, eq=False)
class Chats:
    """x at the site, [token, d_in], of the chats that build_bundled.py trains on, keeps a training by, and reports."""

    train: Tensor
    check: Tensor
    test: Tensor

    @classmethod
    def read(cls, n: int | None) -> Chats:
        """Of ``n`` chats each, or as many as the bundled SAEs were made with."""
        model = Gemma2ForCausalLM.from_pretrained(bundle.MODEL_FOLDER, attn_implementation="eager").eval()
        tokenizer = AutoTokenizer.from_pretrained(bundle.MODEL_FOLDER)
        drawn = ((load_facts(), n or CHATS_TO_TRAIN, 1), ([], n or CHATS_TO_TEST, 3), ([], n or CHATS_TO_TEST, 2))
        batches = [draw_batches(tokenizer, load_topics(), facts, chats, seed) for facts, chats, seed in drawn]
        return cls(*(collect(model, own, [SITE])[SITE] for own in batches))


def agreement(bench: Bench, sae: SparseAutoencoder) -> dict[str, float]:
    """How near attribution patching and integrated gradients come to exact effects, corrupted base.

    Returns:
        pearson_METHOD: over every (list, active feature), with the exact effect;
        largest: the mean exact effect of the feature whose own is the largest, in logits;
        largest_METHOD: what the method estimates of that feature.
    """
    estimates: dict[str, list[Tensor]] = {method: [] for method in METHODS}
    actives, exacts = [], []
    for batch in bench.batches.values():
        base = SiteBase.of(sae, [batch])
        found = {method: estimate(base, asked(batch, method=method)) for method in METHODS}
        for method, (effects, _) in found.items():
            estimates[method].append(effects)
        # Active in the clean or the corrupted run: the same for every method.
        active = found[METHODS[0]][1]
        actives.append(active)
        features = active.any(0).nonzero()[:, 0]
        exact = torch.zeros(len(batch.pairs), sae.d_sae)
        exact[:, features] = feature_effects(batch, base, features, COPIES).T
        exacts.append(exact * active)
    active, exact = torch.cat(actives), torch.cat(exacts)
    largest = int(exact.mean(0).abs().argmax())
    measured = {"largest": float(exact[:, largest].mean())}
    for method, parts in estimates.items():
        effects = torch.cat(parts)
        measured[f"pearson_{method}"] = float(torch.stack([effects[active], exact[active]]).corrcoef()[0, 1])
        measured[f"largest_{method}"] = float(effects[:, largest].mean())
    return measured


def sample(bench: Bench, sae: SparseAutoencoder) -> pd.DataFrame:
    """Five features by attribution patching and by integrated gradients, every topic."""
    rows = []
    for topic, batch in bench.batches.items():
        base = SiteBase.of(sae, [batch])
        for method in METHODS:
            features = rank(sae, asked(batch, method=method))[: SIZES[1]]
            ablated = controlled_ablation(base, [batch], features, CONTROL_SETS[SIZES[1]])
            ablated = dataclasses.replace(ablated, steering=None)
            one = generate_conditions(bench.lm, topic, ablated, Sampling(n_lists=bench.n_lists))
            rows.append(one.assign(ranking=method, n_features=SIZES[1], joint=float("nan")))
    return pd.concat(rows, ignore_index=True)


def section(rows: pd.DataFrame) -> list[str]:
    lines = []
    for (recipe, seed), own in rows.groupby(["recipe", "sae_seed"], sort=False):
        first = own.iloc[0]
        line = {"recipe": recipe, "seed": seed, "unexplained": f"{first['unexplained']:.2%}"}
        line |= {"dead": f"{first['dead']:.1%}"}
        for ranking, part in own.groupby("ranking", sort=False):
            claim = pd.Series(judge((ranking, SIZES[1], first["base"], SITE.kind, SITE.layer), part))
            line[f"5 by {RANKINGS[str(ranking)]}"] = growth(claim)
            line[f"controls of {ranking} add"] = interval(claim, "controls", "{:+.1f}")
        line |= {f"pearson, {RANKINGS[method]}": f"{first[f'pearson_{method}']:.2f}" for method in METHODS}
        line["largest effect (estimate)"] = f"{first['largest']:+.2f} ({first['largest_attribution']:+.2f})"
        lines.append(line)
    n_lists = rows.groupby("group")["list_id"].nunique().sum()
    return [
        "## Three seeds of each",
        "",
        f"Made by `python scripts/benchmark.py generation-saes`: SAEs of {SITE} trained by both recipes with three "
        f"seeds each; {n_lists} lists of {rows['group'].nunique()} topics ({', '.join(rows['group'].unique())}), "
        "corrupted base. unexplained, dead: on chats that were not trained on. Times as long with five features at "
        "their corrupted value, and the items that controls of equal length add. pearson: of estimated and exact "
        "effects over every (list, active feature). largest effect: the largest |mean exact effect| of a feature, and "
        "what attribution patching estimates of it, in logits. These SAEs were trained with one thread, the bundled "
        "one with two.",
        "",
        markdown(pd.DataFrame(lines)),
    ]
