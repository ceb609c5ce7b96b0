"""What was to be reached, and what was measured beside it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.contestants import LABELS
from benchmarks.peers.ratios import TimeOf

#: Setting, a peer, and how many times its seconds the command's were to be.
FASTER = (
    ("3 sites", "nnsight", 1.3),
    ("26 sites", "nnsight", 3.0),
    ("3 sites", "sae-lens", 3.0),
    ("26 sites", "sae-lens", 20.0),
)
#: The whole of a command may cost so many times the core.
WHOLE, WHOLE_AT = 1.3, ("12 sites", "26 sites", "78 sites")
#: What, the aim, the ratio of seconds that passed and of those that the processor was busy, and whether it is reached.
Row = tuple[str, str, str, str, bool]
#: Sites of the same model, fewer and more, and the MB of an SAE: memory is to be flat in the number of SAEs.
STREAMED = ((3, 12, 101), (26, 78, 50))
#: Exact effects against a hooked forward each: at the middle layer, and at layer 0.
ABLATED = {"middle": 10.0, "0": 5.0}


def reach_lines(measured: Mapping[str, Any], times: Sequence[TimeOf]) -> list[str]:
    """A table: aim, measured, and whether it is reached."""
    by_name = {one.name: one for one in times}
    rows: list[Row] = []
    asked = [(slow, "command", name, aim, True) for name, slow, aim in FASTER]
    asked += [("command", "core", name, WHOLE, False) for name in WHOLE_AT]
    for slow, fast, name, aim, or_more in asked:
        found, busy = (by_name[name].ratio(slow, fast, b) if name in by_name else None for b in (False, True))
        if found is not None and busy is not None:
            reached = found >= aim if or_more else found <= aim
            what = f"{LABELS[slow]} / {LABELS[fast]}, {name}"
            wish = f"{aim:g} or more" if or_more else f"at most {aim:g}"
            rows.append((what, wish, f"{found:.2f}", f"{busy:.2f}", reached))
    rows += [*_memory(measured), *_ablations(measured)]
    words = {True: "yes", False: "**no**"}
    table = [f"| {what} | {aim} | {found} | {busy} | {words[reached]} |" for what, aim, found, busy, reached in rows]
    bounds = [
        f"{LABELS[slow]} takes {by_name[name].ratio(slow, 'floor', busy=True):.2f} times the floor at {name}"
        for name, slow, _ in FASTER
        if name in by_name and by_name[name].ratio(slow, "floor", busy=True)
    ]
    head = ["| | aim | measured | by processor time | reached |", "| --- | ---: | ---: | ---: | --- |"]
    told = "No program that runs both forwards, the backward and the encodes can be faster by more than that"
    bound = [f"{'; '.join(bounds)} (processor time). {told}.", ""] if bounds else []
    return ["## What was to be reached", "", *head, *table, "", *bound]


def _memory(measured: Mapping[str, Any]) -> list[Row]:
    """How much the core's peak grows with each SAE more: what is captured of its site, and its tables."""
    rows = []
    for few, many, size in STREAMED:
        found = [measured.get(f"memory/{n} sites/core") for n in (few, many)]
        below, above = (one["peak"] if one else None for one in found)
        if below is not None and above is not None:
            grown = (above - below) / (many - few)
            what = f"core's peak memory for each SAE more, of {size} MB, {few} to {many} sites"
            rows.append((what, "a tenth of an SAE at most", f"{grown:.1f} MB", "", grown <= size / 10))
    return rows


def _ablations(measured: Mapping[str, Any]) -> list[Row]:
    rows = []
    for one in measured.get("ablations/12 sites", []):
        aim = ABLATED["0" if one["layer"] == 0 else "middle"]
        seconds = one["seconds"]
        ratio = statistics.median(a / b for a, b in zip(seconds["hooked"], seconds["ours"], strict=True))
        what = f"hooked forward each / exact effects, layer {one['layer']}, {one['n']:,} ablations"
        rows.append((what, f"{aim:g} or more", f"{ratio:.1f}", "", ratio >= aim))
    return rows
