"""Agreement and greater-than through every stage, on the small model of build_behaviours.py.

    python scripts/build_behaviours.py
    python scripts/benchmark.py behaviours [--model models/behaviours] [--runs runs/behaviours] [--out docs]

Writes docs/behaviours.md with its figures. The studies stay in the folder of --runs, and are not computed again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import saeattr
from benchmarks.behaviours.figure import draw
from benchmarks.behaviours.page import Measured, write_page
from saeattr.errors import UserError

BEHAVIOURS = ("agreement", "greater-than")
#: Pairs of each group, and as many to test on.
PAIRS = 40


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/behaviours"))
    parser.add_argument("--runs", type=Path, default=Path("runs/behaviours"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args(arguments)
    if not (options.model / "figures.json").is_file():
        raise UserError(f"{options.model} is not there: python scripts/build_behaviours.py makes it")
    figures = json.loads((options.model / "figures.json").read_text(encoding="utf-8"))
    measured = []
    for name in BEHAVIOURS:
        started = time.monotonic()
        study = saeattr.attribute(
            "all",
            behaviour=name,
            model=str(options.model / "model"),
            saes=str(options.model / "saes"),
            n_pairs=PAIRS,
            out=options.runs / name,
            device="cpu",
        )
        page = saeattr.report(study)
        print(f"{name}: {time.monotonic() - started:.0f} s, {page}", flush=True)
        measured.append(Measured(name, study))
        draw(study, options.out / f"behaviours-{name}.png")
    write_page(measured, figures, options.out, PAIRS)
