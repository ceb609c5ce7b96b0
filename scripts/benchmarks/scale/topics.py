"""What is saved by opening every SAE once for all topics? Full size: Gemma 2 2B's shape, Gemma Scope's files.

    python scripts/benchmark.py topics CACHE [--topics 24] [--lists 1] [--layers 6] [--rounds 1] [--out docs]

Attribution of each topic by itself, one after the other, against all of them together, in turn in one process; the
files in CACHE are those of ``scale``. Both give the same effects, which is checked. Writes docs/measured/topics.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import huggingface_hub.constants as hub
import pandas as pd
import torch

from benchmarks.cases import list_pairs
from benchmarks.scale.measure import QUICK_LAYERS, write_files
from saeattr.attribution.group import SiteTables, Unit, attribute_units, first_pairs
from saeattr.behaviours.lists.topics import resolve_topics
from saeattr.behaviours.pair import by_group
from saeattr.files import write_text
from saeattr.model.loading import load_model
from saeattr.runs.kept import RunStore
from saeattr.runs.question import Pace
from saeattr.runs.task import Task
from saeattr.saes import loading
from saeattr.saes.formats import SaeFile
from saeattr.settings import make_settings
from saeattr.sites import Site
from saeattr.study.prepare import prepare

Tables = dict[tuple[str, Site], SiteTables]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--topics", type=int, default=24)
    parser.add_argument("--lists", type=int, nargs="+", default=[1], help="of each topic; one table row each")
    parser.add_argument("--layers", type=int, default=6, help="residual SAEs, from layer 0 on")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--quick", action="store_true", help="a tiny model, two topics, two layers: does it run?")
    options = parser.parse_args(arguments)
    if options.quick:
        options.topics, options.layers = 2, QUICK_LAYERS
    hub.HF_HUB_CACHE, hub.HF_HUB_OFFLINE = str(options.cache), True
    write_files(options.cache, options.layers, "toy" if options.quick else "full")
    rows = [measure(options.topics, lists, options.layers, options.rounds) for lists in options.lists]
    write_page(rows, options)


def measure(n_topics: int, n_lists: int, layers: int, rounds: int) -> dict[str, Any]:
    """Seconds of both ways, how often files were opened, and the largest difference of the effects."""
    writer = load_model("bundled", device="cpu")
    pairs = by_group(list_pairs(writer, resolve_topics(["all"])[:n_topics], n_lists))
    wanted = {"model": "gemma-2-2b-it", "kinds": ("resid_post",), "layers": tuple(range(layers))}
    prepared = prepare(make_settings({**wanted, "dtype": "bfloat16", "device": "cpu"}))
    lm = load_model("gemma-2-2b-it", device="cpu", dtype="bfloat16")
    tasks = [Task(lm, own, prepared.saes, prepared.question, Pace(batch_size=16)) for own in pairs.values()]
    units = [Unit(task, first_pairs(task)) for task in tasks]
    opened: Counter[str] = Counter()
    _count_reads(opened)

    def run(some: Sequence[Unit]) -> Tables:
        found: Tables = {}
        with TemporaryDirectory() as folder:
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
            reads[name] = opened.total() / layers
            print(f"{n_lists} lists, {name}: {took[name][-1]:.1f} s", flush=True)
    medians = {name: statistics.median(times) for name, times in took.items()}
    n_tokens = sum(len(pair.clean_ids) for own in pairs.values() for pair in own)
    return {"lists": n_lists, "topics": len(units), "tokens": n_tokens, **medians} | {
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
        f"Made by `python scripts/benchmark.py topics` (CPU, {torch.get_num_threads()} threads of {os.cpu_count()}, "
        f"torch {torch.__version__}). Gemma 2 2B's shape, random weights in bfloat16; {options.layers} residual SAEs "
        "of 16,384 features in Gemma Scope's files (302 MB each), read from the system's file cache; attribution of "
        "each topic by itself, one after the other, against all together (`attribute_units`), in turn, median of "
        f"{options.rounds}. Both include the runs; neither the loading of the model. Opened: how often each SAE's file "
        "was. Difference: the largest of an effect.",
        "",
        "| topics | lists of each | tokens | apart, s | together, s | apart / together | opened apart | together "
        "| difference |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {row['topics']} | {row['lists']} | {row['tokens']:,} | {row['apart']:.0f} | {row['together']:.0f} | "
            f"{row['apart'] / row['together']:.2f} | {row['reads apart']:g} | {row['reads together']:g} | "
            f"{row['difference']:.0e} |"
            for row in rows
        ),
        "",
        "What is saved is reading, so it is the less the longer a topic's tokens take to encode, and the more the "
        "slower the disk.",
        "",
    ]
    write_text(options.out / "measured" / "topics.md", "\n".join(lines))
    print("\n".join(lines))
