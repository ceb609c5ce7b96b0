"""Is it one lucky SAE? Lists written without five features of other SAEs of the site where answers read the length.

SAEs of attn_z.1 are trained as it was and as all others are, with several seeds, and go through what
scripts/benchmark_generation.py does, on the same groups. Writes its own section of docs/generation.md.

    python scripts/benchmark_generation_saes.py [--lists 10] [--out docs] [--rows ROWS.parquet] [--page-only]
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import pandas as pd
import torch
from benchmark_generation import CONTROL_SETS, METHODS, SIZES, Bench, rank, read_bench
from build_bundled import CHATS_TO_TEST, CHATS_TO_TRAIN
from bundled.activations import collect, draw_batches
from bundled.corpus import load_facts, load_groups
from bundled.train_saes import OWN_RECIPES, SaeRecipe, check, save_sae, train_checked
from generation_claims import RANKINGS, judge
from generation_page import growth, interval
from saeattr.files import write_table
from sections import markdown, replace_section
from transformers import AutoTokenizer, Gemma2ForCausalLM

from saeattr import bundle
from saeattr.attribution.group import AttributionPlan
from saeattr.generation.ablation import Sampling
from saeattr.generation.group import compare_site
from saeattr.runs.metric import make_metric
from saeattr.saes.loading import find_saes, load_sae
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site

SITE = Site("attn_z", 1)
RECIPES = {"its own": OWN_RECIPES[SITE], "as all others": SaeRecipe()}
SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lists", type=int, default=10, help="lists for each of four groups and each condition")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--rows", type=Path, default=Path("runs/generation-saes.parquet"), help="lists are kept here")
    parser.add_argument("--page-only", action="store_true", help="train and sample nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.page_only:
        options.rows.parent.mkdir(parents=True, exist_ok=True)
        write_table(options.rows, measure(options.lists))
    replace_section(options.out / "generation.md", "saes", section(pd.read_parquet(options.rows)))


def measure(n_pairs: int) -> pd.DataFrame:
    """Rows of lists of every SAE, with its recipe, its seed and how well it rebuilds other chats."""
    model = Gemma2ForCausalLM.from_pretrained(bundle.MODEL_FOLDER, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(bundle.MODEL_FOLDER)
    groups = load_groups()
    x = collect(model, draw_batches(tokenizer, groups, load_facts(), CHATS_TO_TRAIN, 1), [SITE])[SITE]
    checks = collect(model, draw_batches(tokenizer, groups, [], CHATS_TO_TEST, 3), [SITE])[SITE]
    tested = collect(model, draw_batches(tokenizer, groups, [], CHATS_TO_TEST, 2), [SITE])[SITE]
    bench = read_bench(n_pairs)
    found = []
    for recipe in RECIPES:
        for seed in SEEDS:
            weights = train_checked(x, checks, SITE, RECIPES[recipe], seed)
            with tempfile.TemporaryDirectory() as folder:
                save_sae(weights, SITE, Path(folder) / str(SITE))
                sae = load_sae(find_saes(folder)[SITE])
                rows = sample(bench, sae)
            unexplained, dead = check(weights, tested)
            found.append(rows.assign(recipe=recipe, sae_seed=seed, unexplained=unexplained, dead=dead))
    return pd.concat(found, ignore_index=True)


def sample(bench: Bench, sae: SparseAutoencoder) -> pd.DataFrame:
    """Five features by attribution patching and by integrated gradients, every group."""
    plan = AttributionPlan(make_metric("end-vs-continue", bench.lm.tokenizer))
    rows = []
    for batch in bench.batches.values():
        for method in METHODS:
            features = rank(bench.lm, sae, batch, dataclasses.replace(plan, method=method))[: SIZES[0]]
            one = compare_site(
                bench.lm,
                [batch],
                sae,
                features,
                plan.base,
                Sampling(),
                n_pairs=bench.n_pairs,
                n_sets=CONTROL_SETS[SIZES[0]],
                steer=False,
            )
            rows.append(one.assign(ranking=method, n_features=SIZES[0], base=plan.base, joint=float("nan")))
    return pd.concat(rows, ignore_index=True)


def section(rows: pd.DataFrame) -> list[str]:
    lines = []
    for (recipe, seed), own in rows.groupby(["recipe", "sae_seed"], sort=False):
        first = own.iloc[0]
        line = {"recipe": recipe, "seed": seed, "unexplained": f"{first['unexplained']:.2%}"}
        line |= {"dead": f"{first['dead']:.1%}"}
        for ranking, part in own.groupby("ranking", sort=False):
            claim = pd.Series(judge((ranking, SIZES[0], first["base"], SITE.kind, SITE.layer), part))
            line[f"5 by {RANKINGS[str(ranking)]}"] = growth(claim)
            line[f"controls of {ranking} add"] = interval(claim, "controls", "{:+.1f}")
        lines.append(line)
    return [
        "## Is it one lucky SAE?",
        "",
        f"Made by `python scripts/benchmark_generation_saes.py`. SAEs of {SITE} trained by its own recipe (wider, "
        "sparser, nested) and by that of all other sites, with three seeds each; times as long with five features at "
        "their corrupted value, as above, same groups. Bold: at least double, controls less than a fifth of it, both "
        "with whole intervals. The recipe was chosen among fifteen (width, active features, nesting, steps), most of "
        "them with seed 0 only, by the lists of mountains, colors, countries and fruits; none of these groups is in "
        "the table. The bundled SAE is another training again: seed 0 with two threads, where these had one.",
        "",
        markdown(pd.DataFrame(lines)),
    ]


if __name__ == "__main__":
    main()
