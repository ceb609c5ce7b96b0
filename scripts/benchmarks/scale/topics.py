"""What is saved by opening every SAE once for all topics?

    python scripts/benchmark.py topics [--topics 24] [--lists 1 3 10] [--rounds 3] [--out docs]

The bundled model with random residual SAEs of 65,536 features in Gemma Scope's files: attribution of each topic by
itself, one after the other, against all of them together, in turn in one process. With ``--cache CACHE`` also at full
size, with the files of ``scale``. Both ways give the same effects, which is checked. Writes docs/measured/topics.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import numpy as np
import pandas as pd
import torch

from benchmarks.cases import list_pairs
from benchmarks.cost.measure import wide_sae
from benchmarks.scale.measure import write_files
from saeattr.attribution.group import SiteTables, Unit, attribute_units, first_pairs
from saeattr.behaviours.lists.topics import resolve_topics
from saeattr.behaviours.pair import Pair, by_group
from saeattr.files import write_text
from saeattr.model.loading import LanguageModel, load_model
from saeattr.runs.batch import run_batch
from saeattr.runs.kept import RunStore
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.saes import loading
from saeattr.saes.formats import SaeFile
from saeattr.settings import make_settings
from saeattr.sites import Site
from saeattr.study.prepare import prepare

#: Features of the bundled model's SAEs here, and in a quick run.
WIDTH, QUICK_WIDTH = 65_536, 1_024

Tables = dict[tuple[str, Site], SiteTables]


@dataclass(frozen=True)
class Case:
    """A model on the CPU, its SAEs and the pairs of each topic.

    Attributes:
        name: as the page has it.
    """

    name: str
    lm: LanguageModel
    saes: Sequence[SaeFile]
    pairs: Mapping[str, Sequence[Pair]]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--topics", type=int, default=24)
    parser.add_argument("--lists", type=int, nargs="+", default=[1, 3, 10], help="of each topic; one table row each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="the folder of scale's files, for a row at full size")
    parser.add_argument("--layers", type=int, default=26, help="residual SAEs at full size, from layer 0 on")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--quick", action="store_true", help="two topics, SAEs of 1,024 features: does it run?")
    options = parser.parse_args(arguments)
    if options.quick:
        options.topics, options.lists, options.rounds = 2, [1], 1
    torch.set_num_threads(1)
    opened: Counter[str] = Counter()
    _count_reads(opened)
    rows = []
    for lists in options.lists:
        with tempfile.TemporaryDirectory() as folder:
            case = bundled_case(options.topics, lists, QUICK_WIDTH if options.quick else WIDTH, Path(folder))
            rows.append(measure(case, options.rounds, opened))
    if options.cache:
        rows.append(measure(full_case(options.topics, options.cache, options.layers), 1, opened))
    write_page(rows, options)


def bundled_case(n_topics: int, n_lists: int, width: int, folder: Path) -> Case:
    lm = load_model("bundled", device="cpu")
    pairs = list_pairs(lm, resolve_topics(["all"])[:n_topics], n_lists)
    sites = [Site("resid_post", layer) for layer in range(lm.n_layers)]
    batch = run_batch(lm, pairs[:20], sites, Question(), gradients=False)
    for site in sites:
        sae = wide_sae(site, batch.clean.x[site][batch.usable], width)
        place = folder / "toy-res" / f"layer_{site.layer}" / "wide" / "params.npz"
        place.parent.mkdir(parents=True)
        arrays = {name: getattr(sae, name).numpy() for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")}
        np.savez(place, allow_pickle=False, **arrays)
    saes = list(loading.find_saes(str(folder)).values())
    return Case(f"bundled, {len(saes)} SAEs of {width:,} features", lm, saes, by_group(pairs))


def full_case(n_topics: int, cache: Path, layers: int) -> Case:
    hub.HF_HUB_CACHE, hub.HF_HUB_OFFLINE = str(cache), True
    write_files(cache, layers, "full")
    pairs = list_pairs(load_model("bundled", device="cpu"), resolve_topics(["all"])[:n_topics], 1)
    wanted = {"model": "gemma-2-2b-it", "kinds": ("resid_post",), "layers": tuple(range(layers))}
    prepared = prepare(make_settings({**wanted, "dtype": "bfloat16", "device": "cpu"}))
    lm = load_model("gemma-2-2b-it", device="cpu", dtype="bfloat16")
    return Case(f"Gemma 2 2B's shape, {layers} SAEs of 16,384 features", lm, prepared.saes, by_group(pairs))


def measure(case: Case, rounds: int, opened: Counter[str]) -> dict[str, Any]:
    """Seconds of both ways, how often files were opened, and the largest difference of the effects."""
    tasks = [Task(case.lm, own, case.saes, Question(), Pace(batch_size=16)) for own in case.pairs.values()]
    units = [Unit(task, first_pairs(task)) for task in tasks]

    def run(some: Sequence[Unit]) -> Tables:
        found: Tables = {}
        with tempfile.TemporaryDirectory() as folder:
            attribute_units(
                some,
                RunStore(Path(folder)),
                lambda unit, points: None,
                lambda unit, site, tables: found.update({(unit.task.group, site): tables}),
            )
        return found

    ways: dict[str, Callable[[], Tables]] = {
        "apart": lambda: {key: tables for unit in units for key, tables in run([unit]).items()},
        "together": lambda: run(units),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    tables, reads = {}, {}
    for _ in range(rounds):
        for name, way in ways.items():
            opened.clear()
            begun = time.monotonic()
            tables[name] = way()
            took[name].append(time.monotonic() - begun)
            reads[name] = opened.total() / len(case.saes)
            print(f"{case.name}, {name}: {took[name][-1]:.1f} s", flush=True)
    n_tokens = sum(len(pair.clean_ids) for own in case.pairs.values() for pair in own)
    ratio = statistics.median(a / b for a, b in zip(took["apart"], took["together"], strict=True))
    return {
        "case": case.name,
        "topics": len(units),
        "lists": max(map(len, case.pairs.values())),
        "tokens": n_tokens,
        **{name: statistics.median(times) for name, times in took.items()},
        "ratio": ratio,
        **{f"reads {name}": count for name, count in reads.items()},
        "difference": largest_difference(tables["apart"], tables["together"]),
    }


def largest_difference(one: Tables, other: Tables) -> float:
    """Of a pair's effect of a feature, over all topics and sites."""
    keys = ["feature", "pair_id"]
    assert one.keys() == other.keys()
    both = [one[key].pair_effects.merge(other[key].pair_effects, on=keys, how="outer") for key in one]
    every = pd.concat(both)
    return float((every["effect_x"].fillna(0) - every["effect_y"].fillna(0)).abs().max())


def _count_reads(opened: Counter[str]) -> None:
    read = loading.read_sae

    def counted(file: SaeFile, device: torch.device | str) -> Any:
        opened[str(file.site)] += 1
        return read(file, device)

    loading.read_sae = counted


def write_page(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    lines = [
        "# Every SAE once for all topics",
        "",
        f"Made by `python scripts/benchmark.py topics` (CPU, {torch.get_num_threads()} thread of {os.cpu_count()}, "
        f"beside it the one that reads; torch {torch.__version__}). Attribution (`attribute_units`) of each topic by "
        "itself, one after the other, against all together, in turn, median of "
        f"{options.rounds} rounds (of one at full size). Random "
        "SAEs in Gemma Scope's files, read from the system's file cache. Both ways include the runs, and neither the "
        "loading of the model. Opened: how often each SAE's file was. Difference: the largest of an effect.",
        "",
        "| model and SAEs | topics | lists of each | tokens | apart, s | together, s | apart / together | opened apart "
        "| together | difference |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {row['case']} | {row['topics']} | {row['lists']} | {row['tokens']:,} | {row['apart']:.1f} | "
            f"{row['together']:.1f} | {row['ratio']:.2f} | {row['reads apart']:g} | {row['reads together']:g} | "
            f"{row['difference']:.0e} |"
            for row in rows
        ),
        "",
        "What is saved is reading and checking files, which a second thread does while the first computes: so it is "
        "the less the longer a topic's runs and tokens take, and the more the wider the SAEs and the slower the disk.",
        "",
    ]
    write_text(options.out / "measured" / "topics.md", "\n".join(lines))
    print("\n".join(lines))
