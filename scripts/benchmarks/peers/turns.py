"""One measurement of time: contestants in turn in one process, and whether they give the same effects."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.peers.arithmetic import Effects
from benchmarks.peers.case import Case
from benchmarks.peers.contestant import Contestant
from benchmarks.peers.contestants import CONTESTANTS, is_installed
from benchmarks.peers.settings import Setting
from saeattr.model.memory import measure_peak, resident_bytes


def take_turns(setting: Setting, case: Case) -> dict[str, Any]:
    """Seconds of every round by contestant, passed and busy, and the largest differences from the first one's effects.

    Each is warmed up on one pair and one site; then A B A B, so that a slow minute hits all of them.
    """
    names = [name for name in setting.contestants if is_installed(name)]
    opened = {name: CONTESTANTS[name][0](case) for name in names}
    small = dataclasses.replace(case, n_lists=1, sites=case.sites[:1])
    for one in opened.values():
        one.run(small)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    processor: dict[str, list[float]] = {name: [] for name in names}
    apart: dict[str, float] = {}
    different: dict[str, float] = {}
    reference: Effects = {}
    for turn in range(setting.rounds):
        for name, one in opened.items():
            took, busy, found = timed(one, case)
            seconds[name].append(took)
            processor[name].append(busy)
            apart[name] = one.apart
            if not turn:
                effects = one.effects(case, found)
                reference = reference or effects
                different |= {name: largest_difference(effects, reference)} if effects else {}
    prompts = case.prompts()
    return {
        "seconds": seconds,
        "processor": processor,
        "apart": apart,
        "different": different,
        "pairs": sum(len(one.clean) for one in prompts),
        "tokens": sum(int(one.mask.sum()) for one in prompts),
        "used": sum(int(one.used.sum()) for one in prompts),
        "sites": len(case.sites),
        "active": active_features(reference),
    }


def timed(one: Contestant, case: Case) -> tuple[float, float, Any]:
    """Seconds that pass, those that a processor is busy (all threads together), and what was found."""
    began, busy = time.perf_counter(), time.process_time()
    found = one.run(case)
    return time.perf_counter() - began - one.apart, time.process_time() - busy - one.apart, found


def largest_difference(effects: Effects, reference: Effects) -> float:
    """Of any entry, as a share of the largest |effect| of its site."""
    return max(float((effects[site] - one).abs().max() / one.abs().max()) for site, one in reference.items())


def active_features(effects: Effects) -> float:
    """Features with an effect in a pair, the mean over sites and pairs."""
    return float(torch.stack([(one[:, :-1] != 0).sum(1).float().mean() for one in effects.values()]).mean())


def correlations(case: Case) -> dict[str, Any]:
    """Of every site's effects by sae-lens with all SAEs attached, with those of one pass per SAE; and their sizes."""
    found: Mapping[str, Effects] = {
        name: CONTESTANTS[name][0](case).run(case) for name in ("sae-lens", "sae-lens at once")
    }
    rows = {}
    for site, right in found["sae-lens"].items():
        wrong = found["sae-lens at once"][site]
        both = torch.stack([right[:, :-1].flatten(), wrong[:, :-1].flatten()])
        both = both[:, (both != 0).any(0)]
        size = float(both[1].norm() / both[0].norm())
        rows[site] = {"correlation": float(torch.corrcoef(both)[0, 1]), "size": size}
    return rows


def peak_memory(name: str, case: Case) -> dict[str, float]:
    """Peak resident memory of this process in MB while a contestant runs, and before it, with its model open."""
    one = CONTESTANTS[name][0](case)
    before = resident_bytes() or 0
    with measure_peak(torch.device("cpu"), before) as peak:
        one.run(case)
    return {"before": before / 2**20, "peak": (before + (peak.n_bytes or 0)) / 2**20}
