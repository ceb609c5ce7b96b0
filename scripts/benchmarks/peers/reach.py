"""What was to be reached, and what was measured beside it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.contestants import LABELS
from benchmarks.peers.ratios import TimeOf

#: Setting, the slower, the faster, and the ratio that was to be reached.
FASTER = (
    ("3 sites", "nnsight", "command", 1.3),
    ("26 sites", "nnsight", "command", 3.0),
    ("3 sites", "sae-lens", "command", 3.0),
    ("26 sites", "sae-lens", "command", 20.0),
)
#: The whole of a command may cost so many times the core.
WHOLE, WHOLE_AT = 1.3, ("12 sites", "26 sites", "78 sites")
#: Exact effects against a hooked forward each: at the middle layer, and at layer 0.
ABLATED = {"middle": 10.0, "0": 5.0}


def reach_lines(measured: Mapping[str, Any], times: Sequence[TimeOf]) -> list[str]:
    """A table: aim, measured, and whether it is reached."""
    by_name = {one.name: one for one in times}
    rows = []
    for name, slow, fast, aim in FASTER:
        found = by_name[name].ratio(slow, fast) if name in by_name else None
        core = by_name[name].ratio(slow, "core") if name in by_name else None
        if found is not None and core is not None:
            rows.append(
                (f"{LABELS[slow]} / saeattr's command, {name}", f"{aim:g} or more", f"{found:.2f}", found >= aim)
            )
            rows.append((f"{LABELS[slow]} / saeattr's core, {name}", "", f"{core:.2f}", None))
    for name in WHOLE_AT:
        found = by_name[name].ratio("command", "core") if name in by_name else None
        if found is not None:
            rows.append((f"command / core, {name}", f"at most {WHOLE:g}", f"{found:.2f}", found <= WHOLE))
    rows += [*_memory(measured), *_ablations(measured)]
    words = {True: "yes", False: "**no**", None: ""}
    table = [f"| {what} | {aim} | {found} | {words[reached]} |" for what, aim, found, reached in rows]
    head = ["| | aim | measured | reached |", "| --- | ---: | ---: | --- |"]
    return ["## What was to be reached", "", *head, *table, ""]


def _memory(measured: Mapping[str, Any]) -> list[tuple[str, str, str, bool | None]]:
    one, many = (measured.get(f"memory/{name}/core") for name in ("1 site", "12 sites"))
    if one is None or many is None:
        return []
    # What x and g of eleven more sites take is under 50 MB, an SAE takes 100.
    grown = many["peak"] - one["peak"]
    what = "core's peak with 12 SAEs above that with 1 (an SAE has 101 MB)"
    return [(what, "less than two SAEs", f"{grown:.0f} MB", grown < 202)]


def _ablations(measured: Mapping[str, Any]) -> list[tuple[str, str, str, bool | None]]:
    rows = []
    for one in measured.get("ablations/12 sites", []):
        aim = ABLATED["0" if one["layer"] == 0 else "middle"]
        seconds = one["seconds"]
        ratio = statistics.median(a / b for a, b in zip(seconds["hooked"], seconds["ours"], strict=True))
        what = f"hooked forward each / exact effects, layer {one['layer']}, {one['n']:,} ablations"
        rows.append((what, f"{aim:g} or more", f"{ratio:.1f}", ratio >= aim))
    return rows
