"""How much faster do several processes attribute many topics than one?

    OMP_NUM_THREADS=1 python scripts/benchmark.py workers [--topics 26] [--lists 10] [--workers 0 2] [--rounds 1]

The bundled model, lists sampled, every site attributed; without and with several workers, in turn. Tables are
compared byte by byte. Wall time depends on what else runs here, so processor time stands beside it: of this process and
of its busiest worker, one of which is always at work. Writes a section of docs/scale.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch

import saeattr
from benchmarks.sections import markdown, replace_section
from saeattr.behaviours.lists.topics import resolve_topics
from saeattr.digests import file_sha256


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--topics", type=int, default=26)
    parser.add_argument("--lists", type=int, default=10, help="of each topic")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="ways, in turn; 0: this process alone")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--quick", action="store_true", help="two topics of a list: does it run?")
    options = parser.parse_args(arguments)
    if options.quick:
        options.topics, options.lists, options.rounds = 2, 1, 1
    topics = resolve_topics(["all"])[: options.topics]
    rows: list[dict[str, Any]] = []
    for number in range(options.rounds):
        # Turned round from time to time: who comes first has the cold caches.
        for workers in options.workers if number % 2 == 0 else reversed(options.workers):
            rows.append({"round": number, **measure(topics, options.lists, workers)})
            print(rows[-1], flush=True)
    write_section(pd.DataFrame(rows), options)


def measure(topics: Sequence[str], lists: int, workers: int) -> dict[str, Any]:
    """Seconds of a study, of its processes' processors, and what its tables are."""
    used: dict[int, float] = {}
    this = psutil.Process()

    def on_progress(subject: str, step: str, done: int, total: int) -> None:
        # Workers end with the study: each time is the last that was seen.
        for process in this.children(recursive=True):
            used[process.pid] = _seconds(process)

    shared: dict[str, Any] = {"workers": workers} if workers else {}
    before, begun = _seconds(this), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        study = saeattr.attribute(
            topics,
            out=Path(folder) / "s",
            n_pairs=lists,
            layers="all",
            validate_top=0,
            figures=False,
            device="cpu",
            on_progress=on_progress,
            **shared,
        )
        wall = time.monotonic() - begun
        root, n_sites = study.folder.root, len(study.record["saes"])
        digests = sorted((str(path.relative_to(root)), file_sha256(path)) for path in root.rglob("*.parquet"))
    own = _seconds(this) - before
    return {
        "workers": workers,
        "wall": wall,
        "own": own,
        "busiest": max(used.values(), default=0.0),
        "all": own + sum(used.values()),
        "sites": n_sites,
        "tables": hash(tuple(digests)),
    }


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def write_section(rows: pd.DataFrame, options: argparse.Namespace) -> None:
    rows = rows.assign(path=rows["own"] + rows["busiest"])
    middle = rows.groupby("workers")[["wall", "all", "own", "busiest"]].median()
    shown = middle.map("{:.0f}".format).reset_index()
    shown["workers"] = shown["workers"].replace({0: "none"}).astype(str)
    names = {"wall": "wall, s", "all": "processor, s", "own": "this process, s", "busiest": "busiest worker, s"}
    first, *others = options.workers
    ratios = [
        f"{_named(many)} against {_named(first)}: {_ratio(rows, 'wall', first, many):.2f} times as fast by the clock, "
        f"{_ratio(rows, 'path', first, many):.2f} times by processor time along the longest path"
        for many in others
    ]
    same = "are the same, byte by byte" if len(set(rows["tables"])) == 1 else "DIFFER"
    lines = [
        f"`python scripts/benchmark.py workers --lists {options.lists}`: {options.topics} topics, sampled, and "
        f"attributed at the {rows['sites'].max()} sites of the bundled model; {os.cpu_count()} cores, one thread a "
        f"process, torch {torch.__version__}; each way {options.rounds} time{'s' if options.rounds > 1 else ''}, in "
        "turn.",
        "",
        markdown(shown.rename(columns=names)),
        "",
        f"{'; '.join(ratios)} (this process and the busiest worker), which does not depend on what else runs (load "
        f"average {os.getloadavg()[1]:.0f} meanwhile). The tables of all runs {same}.",
    ]
    replace_section(options.out / "scale.md", "workers", lines)
    print("\n".join(lines))


def _named(workers: int) -> str:
    return f"{workers} workers" if workers else "this process alone"


def _ratio(rows: pd.DataFrame, name: str, few: int, many: int) -> float:
    """How many times as long it takes with few, median over rounds."""
    by = rows.pivot_table(index="round", columns="workers", values=name)
    return float((by[few] / by[many]).median())
