"""A section of docs/scale.md: times and memory of the full-size rehearsal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.sections import replace_section
from saeattr.runs.memory import megabytes

PARTS = ("weights", "captured", "working", "sae", "encode", "tables")


@dataclass(frozen=True)
class Rehearsed:
    """What was measured.

    Attributes:
        took: seconds of each step; within: of the parts of the study.
        plan: the group's entry in plan.json: bytes by part, and by stage what was predicted and measured.
        n_rows: of attributions; longest: tokens of the longest pair.
    """

    took: dict[str, float]
    within: dict[str, float]
    plan: dict[str, Any]
    n_rows: int
    longest: int


def write_page(found: Rehearsed, layers: int, lists: int, out: Path) -> None:
    lines = [
        "## Full size",
        "",
        f"Made by `python scripts/benchmark.py scale` (CPU, {torch.get_num_threads()} threads of {os.cpu_count()}, "
        f"torch {torch.__version__}). Gemma 2 2B's shape (26 layers, width 2304, vocabulary 256,000), random "
        f"weights in bfloat16; {layers} residual SAEs of 16,384 features in Gemma Scope's files; "
        f"{lists} lists of at most {found.longest} tokens. Random weights say nothing about behaviour: "
        "this is about time and memory.",
        "",
        "Before files were mapped, features encoded in place and whole sites checked in three pairs alone, the "
        "attribution of these ten lists took 448 s on this machine, without the pairs in float32, and checking every "
        "file 37 s.",
        "",
        "| step | seconds |",
        "| --- | ---: |",
        *(f"| {step} | {seconds:.0f} |" for step, seconds in found.took.items()),
        *(f"| - {stage} | {seconds:.0f} |" for stage, seconds in found.within.items()),
        "",
        f"{found.n_rows:,} rows of attributions.",
        "",
        "| memory of attribution, predicted | |",
        "| --- | ---: |",
        *(f"| {part} | {megabytes(found.plan[part])} |" for part in PARTS),
        "",
        "Peak of each stage, resident memory above the idle process. Of tensors alone a test holds predictions within "
        "15 % (tests/study/test_memory.py).",
        "",
        "| stage | predicted | measured | predicted / measured | batch | copies |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(_stage_row(name, stage) for name, stage in found.plan["stages"].items()),
    ]
    replace_section(out / "scale.md", "full size", lines)
    print("\n".join(lines))


def _stage_row(name: str, stage: dict[str, Any]) -> str:
    both = [stage["predicted"], stage["measured"]]
    cells = ["-" if n_bytes is None else megabytes(n_bytes) for n_bytes in both]
    ratio = f"{both[0] / both[1]:.2f}" if all(both) else "-"
    return f"| {name} | {' | '.join(cells)} | {ratio} | {stage['batch_size']} | {stage['copies']} |"
