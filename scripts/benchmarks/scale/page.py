"""docs/scale.md: times and memory of the full-size rehearsal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from saeattr.files import write_text
from saeattr.runs.memory import MemoryPlan, megabytes

PARTS = ("weights", "captured", "working", "sae", "encode", "tables", "peak")


@dataclass(frozen=True)
class Rehearsed:
    """What was measured.

    Attributes:
        took: seconds of each step; within: of the parts of attribution.
        peak: measured, in bytes; None where the system does not tell.
        n_rows: of attributions; longest: tokens of the longest pair.
    """

    took: dict[str, float]
    within: dict[str, float]
    plan: MemoryPlan
    batch_size: int
    peak: int | None
    n_rows: int
    longest: int


def write_page(found: Rehearsed, layers: int, lists: int, out: Path) -> None:
    lines = [
        "# Full size",
        "",
        f"Made by `python scripts/benchmark.py scale` (CPU, {torch.get_num_threads()} threads of {os.cpu_count()}, "
        f"torch {torch.__version__}). Gemma 2 2B's shape (26 layers, width 2304, vocabulary 256,000), random "
        f"weights in bfloat16; {layers} residual SAEs of 16,384 features in Gemma Scope's files; "
        f"{lists} lists of at most {found.longest} tokens. Random weights say nothing about behaviour: "
        "this is about time and memory.",
        "",
        "| step | seconds |",
        "| --- | ---: |",
        *(f"| {step} | {seconds:.0f} |" for step, seconds in found.took.items()),
        *(f"| - {stage} | {seconds:.0f} |" for stage, seconds in found.within.items()),
        "",
        f"{found.n_rows:,} rows of attributions.",
        "",
        "| memory | |",
        "| --- | ---: |",
        *(f"| {part}, predicted | {megabytes(getattr(found.plan, part))} |" for part in PARTS),
        f"| peak, measured | {megabytes(found.peak or 0)} |",
        "",
        f"Batch size {found.batch_size}.",
        "",
    ]
    write_text(out / "scale.md", "\n".join(lines))
    print("\n".join(lines))
