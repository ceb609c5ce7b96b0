"""How fast is saeattr beside nnsight, sae-lens and transformer-lens? Writes docs/measured/peers.md.

    python scripts/benchmark.py peers [--cases runs/peers] [--rounds 3] [--out docs] [--again NAME ...]

nnsight is needed from PyPI, in an environment of its own (``make bench`` makes one); without it the rest is measured.
Every measurement runs in a process of its own and is stored in CASES/measured.json as soon as it is done: what is there
is not measured again, so an interrupted run goes on. The page is written from that file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from benchmarks.cost.exact import matmul_speed
from benchmarks.peers.ablations import time_ablations
from benchmarks.peers.case import Case, write_case
from benchmarks.peers.contestants import CONTESTANTS, is_installed, versions
from benchmarks.peers.page import write_page
from benchmarks.peers.profile import profile
from benchmarks.peers.settings import Setting, find_setting, full_settings, quick_settings
from benchmarks.peers.turns import correlations, peak_memory, take_turns
from saeattr.files import write_text

#: The program that runs this.
BENCHMARK = str(Path(__file__).parents[2] / "benchmark.py")
#: Settings and contestants whose seconds are taken apart.
PROFILED = (("3 sites", "command"), ("3 sites", "nnsight"), ("26 sites", "command"), ("26 sites", "nnsight"))
#: How many ablations, and how many of them a hooked forward each is timed for.
NUMBERS, SAMPLE = (10, 100, 1000), 25


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=Path, default=Path("runs/peers"), help="folder of the models, SAEs and lists")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--again", nargs="*", default=[], help="what to measure anew, such as '3 sites'; or all")
    parser.add_argument("--only", nargs="*", default=[], help="measure only this, such as time, memory or '3 sites'")
    parser.add_argument("--page", action="store_true", help="write the page from what is measured, and measure nothing")
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that it runs")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    settings = quick_settings() if options.quick else full_settings(options.rounds)
    root = options.cases / ("quick" if options.quick else "full")
    if options.one:
        print(json.dumps(measure_one(root, settings, options.one, options.quick)))
        return
    stored = root / "measured.json"
    if not options.page:
        handed_on = ["--cases", str(options.cases), "--rounds", str(options.rounds), *["--quick"] * options.quick]
        every = [one for one in wanted(settings, options.quick) if not options.only or set(one) & set(options.only)]
        measure_all(stored, every, options.again, handed_on)
    write_page(json.loads(stored.read_text(encoding="utf-8")), settings, options.out)


def wanted(settings: Sequence[Setting], quick: bool) -> list[tuple[str, ...]]:
    """Every measurement as the words that name it: what, the setting, and perhaps a contestant."""
    most = "3 sites" if quick else "12 sites"
    known = {setting.name for setting in settings}
    memory = [("memory", setting.name, name) for setting in settings for name in setting.memory if is_installed(name)]
    return [
        *(("time", setting.name) for setting in settings),
        *(("correlation", most), ("ablations", most)),
        *(("profile", *one) for one in PROFILED if one[0] in known and is_installed(one[1])),
        *memory,
    ]


def measure_all(stored: Path, every: Sequence[tuple[str, ...]], again: Sequence[str], options: Sequence[str]) -> None:
    """Each in a fresh process, stored before the next begins; what is stored is left alone but for ``again``."""
    known = stored.exists() and again != ["all"]
    measured: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8")) if known else {}
    measured["machine"] = machine()
    for words in every:
        name = "/".join(words)
        if name in measured and not set(words) & set(again):
            continue
        began = time.perf_counter()
        command = [sys.executable, BENCHMARK, "peers", *options, "--one", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr[-4000:], file=sys.stderr)
            raise SystemExit(f"{name} could not be measured")
        measured[name] = json.loads(done.stdout.splitlines()[-1])
        write_text(stored, json.dumps(measured, indent=1))
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)


def measure_one(root: Path, settings: Sequence[Setting], words: Sequence[str], quick: bool) -> Any:
    """What one process measures; the case's files are written where they are missing."""
    what, setting, *contestant = words[0], find_setting(settings, words[1]), *words[2:]
    for n_lists in {1, setting.n_lists}:
        write_case(root, setting.shape, n_lists)
    case = Case(root, setting.shape, setting.shape.sites, setting.n_lists)
    measurements: dict[str, Callable[[], Any]] = {
        "time": lambda: take_turns(setting, case),
        "memory": lambda: peak_memory(contestant[0], case),
        "correlation": lambda: correlations(case),
        "ablations": lambda: time_ablations(case, (2, 10) if quick else NUMBERS, SAMPLE, setting.rounds),
        "profile": lambda: profile_of(contestant[0], case),
    }
    return measurements[what]()


def profile_of(name: str, case: Case) -> dict[str, float]:
    one = CONTESTANTS[name][0](case)
    one.run(case)
    return profile(lambda: one.run(case))


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "speed": matmul_speed(),
        "versions": versions(),
        "python": platform.python_version(),
    }
