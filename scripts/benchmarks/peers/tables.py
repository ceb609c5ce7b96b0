"""The tables of docs/measured/peers.md."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.contestants import LABELS
from benchmarks.peers.ratios import TimeOf
from benchmarks.peers.settings import ALL

#: Functions with a smaller share of the time are added up.
SMALL = 0.02


def time_table(times: Sequence[TimeOf], axis: str) -> list[str]:
    """Seconds of each contestant, and times the core's, along an axis."""
    lines = [
        f"| {axis} | pairs | tokens encoded | " + " | ".join(f"{LABELS[name]}, s" for name in ALL) + " | opening, s |",
        "| ---: |" + " ---: |" * (len(ALL) + 3),
    ]
    for one in sorted(times, key=lambda one: one.at(axis)):
        cells = []
        for name in ALL:
            ratio = one.ratio(name, "core")
            cells.append("-" if ratio is None else f"{one.median(name):.2f} ({ratio:.2f}x)")
        beside = f"{one.pairs} | {2 * one.used:,}"
        lines.append(f"| {one.at(axis):,} | {beside} | {' | '.join(cells)} | {one.opening:.1f} |")
    return [*lines, "", "In brackets: times the core's seconds. Opening: the command's model, not in its seconds."]


def memory_table(measured: Mapping[str, Any]) -> list[str]:
    rows = [(*key.split("/")[1:], value) for key, value in measured.items() if key.startswith("memory/")]
    if not rows:
        return []
    return [
        "Resident memory of a process that imports what it needs, opens the model (the command: later) and attributes "
        "once. The model of 12 layers has 410 MB in float32, an SAE of 16,384 features 101 MB and of 65,536 403 MB.",
        "",
        "| setting | contestant | before, MB | peak, MB | above, MB |",
        "| --- | --- | ---: | ---: | ---: |",
        *(_memory_row(setting, name, one["before"], one["peak"]) for setting, name, one in rows),
    ]


def _memory_row(setting: str, name: str, before: float, peak: float) -> str:
    return f"| {setting} | {LABELS[name]} | {before:.0f} | {peak:.0f} | {peak - before:.0f} |"


def ablation_table(measured: Mapping[str, Any]) -> list[str]:
    rows = [row for key, value in measured.items() if key.startswith("ablations/") for row in value]
    if not rows:
        return []
    lines = [
        "Setting one feature to its corrupted value in one list, at all its positions, in the model of 12 layers. "
        "hooked: a forward of transformer-lens' bridge with a hook for each; plain: the same by Hugging Face's model. "
        f"These are timed for at most {max(row['sample'] for row in rows)} of the ablations, evenly picked, and "
        "counted for all; saeattr's time is of all, encoding included.",
        "",
        "| layer | ablations | saeattr, ms each | hooked / saeattr | plain / saeattr | largest difference |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        seconds = row["seconds"]
        each = 1000 * statistics.median(seconds["ours"]) / row["n"]
        ratios = [
            statistics.median(a / b for a, b in zip(seconds[name], seconds["ours"], strict=True))
            for name in ("hooked", "plain")
        ]
        cells = " | ".join(f"{ratio:.1f}" for ratio in ratios)
        lines.append(f"| {row['layer']} | {row['n']:,} | {each:.2f} | {cells} | {row['different']:.0e} |")
    return lines


def correlation_table(measured: Mapping[str, Any]) -> list[str]:
    found = next((value for key, value in measured.items() if key.startswith("correlation/")), None)
    if found is None:
        return []
    return [
        "sae-lens' error term is computed without gradient, so with several SAEs attached the gradient that reaches a "
        "lower one has passed the reconstructions above it alone. Over all features and pairs with an effect, those "
        "effects against the right ones (one pass per SAE): correlation, and the ratio of their norms. The highest "
        "SAE, with none above it, is right.",
        "",
        "| site | correlation | size |",
        "| --- | ---: | ---: |",
        *(f"| {site} | {one['correlation']:.3f} | {one['size']:.2f} |" for site, one in found.items()),
    ]


def profile_tables(measured: Mapping[str, Any]) -> list[str]:
    """Shares of the main thread's time by the innermost function of saeattr, or of the peer's script."""
    taken = [(*key.split("/")[1:], one) for key, one in measured.items() if key.startswith("profile/")]
    found = {f"{LABELS[name]}, {setting}": seconds for setting, name, seconds in taken}
    if not found:
        return []
    lines = [
        "What the main thread was in, sampled every 5 ms; of a stack the innermost function of saeattr or of the "
        "contestant's script, so that torch's time is that of who called it. Opening the model is in the command's."
    ]
    for title, seconds in found.items():
        total = sum(seconds.values())
        large = {what: took for what, took in seconds.items() if took >= SMALL * total}
        others = {f"others, each under {100 * SMALL:.0f} %": total - sum(large.values())}
        rows = {f"`{what.removeprefix('saeattr.').removeprefix('benchmarks.')}`": took for what, took in large.items()}
        lines += ["", f"{title}, {total:.1f} s:", "", "| function | seconds | share |", "| --- | ---: | ---: |"]
        lines += [f"| {what} | {took:.2f} | {100 * took / total:.0f} % |" for what, took in (rows | others).items()]
    return lines
