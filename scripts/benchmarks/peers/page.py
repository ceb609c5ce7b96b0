"""docs/measured/peers.md and its figure, from what is measured; what is not there yet is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.figure import draw
from benchmarks.peers.ratios import TimeOf, times_of
from benchmarks.peers.reach import reach_lines
from benchmarks.peers.settings import Setting
from benchmarks.peers.tables import ablation_table, correlation_table, memory_table, profile_tables, time_table
from benchmarks.sections import MEASURED
from saeattr.files import write_text

NOT_COMPARED = (
    "- circuit-tracer. It wants transcoders of MLPs, not SAEs at sites; it attributes one prompt to itself, with no "
    "corrupted prompt; and what it gives is the direct effect of every feature on every other, so that the numbers are "
    "of something else. circuit-tracer 0.5.0 on PyPI also needs transformers at most 4.57.3 and huggingface-hub below "
    "1, so that it cannot stand in one environment with the others. It was not run.",
    "- A GPU, and bfloat16: everything here is float32 on one CPU thread. saeattr and nobody else reads the next SAE "
    "in a second thread while it works on one.",
    "- A large vocabulary. The model has the bundled tokenizer's 1,900 tokens; nobody computes all logits here, so a "
    "larger one would change nothing but the weights. Who does compute them pays more.",
    "- sae-lens at 78 sites, which would take a pass for each, and its memory there.",
    "- Sampling lists, validation, figures: the peers have none.",
)
#: Where the machine was not quiet.
BUSY = (
    "**Provisional: other programs shared the cores.** Seconds that passed are those of a crowded machine; the ratios "
    "by processor time are the better ones."
)


def write_page(measured: Mapping[str, Any], settings: Sequence[Setting], out: Path) -> None:
    """Both, where at least one measurement of time is there."""
    times = times_of(measured, settings)
    lines = [*head(measured, times), *reach_lines(measured, times), *growth(times), *rest(measured)]
    draw(times, measured, out / MEASURED)
    write_text(out / MEASURED / "peers.md", "\n".join([*lines, ""]))
    print("\n".join(lines))


def head(measured: Mapping[str, Any], times: Sequence[TimeOf]) -> list[str]:
    machine = measured["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    rounds = sorted({len(one.seconds["core"]) for one in times})
    worst = max((off for one in times for off in one.different.values()), default=0.0)
    return [
        "# Beside the peers",
        "",
        f"Made by `make bench` (`python scripts/benchmark.py peers`): {machine['processor']}, {machine['cores']} "
        f"cores, one thread, load {machine['load']:.1f} at the start, {machine['speed'] / 1e9:.0f} GFLOP/s in a large "
        f"product, Python {machine['python']}; {versions}.",
        "",
        *([BUSY, ""] if machine["load"] > 1 else []),
        "The same pairs, SAEs, metric and outputs for all: the effect of every feature and of the error term, by pair. "
        "Contestants run in turn in one process (A B A B), after a small run each to warm up; rounds: "
        f"{' to '.join(map(str, rounds))}. Ratios are the median over rounds of one contestant's seconds to another's "
        "in the same round. Each reads its SAEs from disk within its time, and opens its model before; the command "
        "opens it within, which is subtracted. By processor time: the same ratio of the seconds that the processor was "
        "busy, all threads together, which other work on the machine hardly changes.",
        "",
        "- **saeattr, core**: `attribute_group`, pairs to tables in memory, whole-site checks in three pairs included. "
        "It gives more than the peers: every entry by position with its token and role, sums by role, and in three "
        "pairs the exact effect of each site's reconstruction.",
        "- **saeattr, command**: `saeattr.attribute(...)` with `validate_top=0, figures=False`: files checked, plan, "
        "tables on disk. Its pairs are read, not sampled.",
        "- **nnsight, tuned**: frozen weights, one trace with one forward and backward for all sites, the graph from "
        "the first site on, two unembedding rows at the decision alone; one forward of the corrupted prompts; then SAE "
        "by SAE, tokens that can have an effect alone, active features alone.",
        "- **nnsight, dense**: the same runs, and the arithmetic of tutorials: all tokens are encoded, and g "
        "multiplies the whole decoder.",
        "- **transformer-lens hooks**: the same through `run_with_hooks` of its bridge.",
        "- **sae-lens, one pass per SAE**: its bridge with the SAE attached and its error term, frozen weights, two "
        "unembedding rows; the corrupted prompts run once.",
        "- **floor**: one forward and backward and one forward of the bare model, and the encodes' multiplications at "
        "the speed of a large product.",
        "",
        "Models are random Gemma 2: 12 layers of width 768, or for 26 and 78 sites 26 layers of width 384 (SAEs at the "
        "residual stream; at all three kinds for 78). SAEs are random JumpReLU with thresholds that some 75 features a "
        "token pass, 16,384 wide unless said. Lists are the bundled model's. Random weights say nothing about "
        "behaviour: this is about time and memory.",
        "",
        f"All give the same effects: the largest difference of any from the core's is {worst:.0e} of its site's "
        "largest |effect|. sae-lens with all SAEs attached at once does not.",
        "",
    ]


def growth(times: Sequence[TimeOf]) -> list[str]:
    """A table for each axis."""
    titles = {"sites": "## Sites", "lists": "## Lists", "width": "## Width of the SAEs"}
    lines = []
    if times:
        lines += ["![seconds by sites, lists and width; peak memory; ablations](peers.png)", ""]
    for axis, title in titles.items():
        own = [one for one in times if axis in one.axes]
        if own:
            lines += [title, "", *time_table(own, axis), ""]
    return lines


def rest(measured: Mapping[str, Any]) -> list[str]:
    lines = []
    for title, table in (
        ("## Peak memory", memory_table(measured)),
        ("## Exact effects", ablation_table(measured)),
        ("## All SAEs at once", correlation_table(measured)),
        ("## Where the time goes", profile_tables(measured)),
    ):
        if table:
            lines += [title, "", *table, ""]
    return [*lines, "## What was not compared", "", *NOT_COMPARED]
