"""Exact effects against a hooked forward each, from 10 to 1,000 (feature, list) ablations, at two layers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.cost.exact import choose_edits, plain, tutorial
from benchmarks.peers.case import Case
from saeattr.runs.batch import run_batch
from saeattr.runs.effects import Edits, exact_effects
from saeattr.runs.question import Question
from saeattr.saes.formats import config_file
from saeattr.saes.loading import load_sae
from saeattr.sites import Site

COPIES = 32


@torch.no_grad()
def time_ablations(case: Case, numbers: tuple[int, ...], sample: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each layer (0 and the middle one) and number: seconds of every round by way.

    Args:
        sample: a hooked forward each is timed for at most so many of the ablations, evenly picked, and counted for all.
    """
    lm, model, pairs = case.open_model(), case.open_plain(), case.pairs()
    rows = []
    for layer in (0, case.shape.n_layers // 2):
        site = Site("resid_post", layer)
        sae = load_sae(config_file(case.sae_folder(site) / "cfg.json"))
        batch = run_batch(lm, pairs, [site], Question(), gradients=False)
        for n in numbers:
            edits = choose_edits(batch, sae, n)
            some = torch.arange(0, n, max(1, n // sample))[:sample]
            few = take_copies(edits, some)
            parts: dict[str, Callable[[], Tensor]] = {
                "ours": lambda b=batch, s=sae, n=n: exact_effects(b, s, choose_edits(b, s, n), COPIES),
                "hooked": lambda b=batch, s=sae, e=few: tutorial(lm, b, s, e),
                "plain": lambda b=batch, s=sae, e=few: plain(model, b, s, e),
            }
            found: dict[str, Tensor] = {}
            seconds: dict[str, list[float]] = {name: [] for name in parts}
            for _ in range(rounds):
                for name, part in parts.items():
                    began = time.perf_counter()
                    found[name] = part()
                    share = 1 if name == "ours" else n / len(some)
                    seconds[name].append((time.perf_counter() - began) * share)
            off = max(float((found["ours"][some] - found[name]).abs().max()) for name in ("hooked", "plain"))
            rows.append({"layer": layer, "n": n, "seconds": seconds, "different": off, "sample": len(some)})
    return rows


def take_copies(edits: Edits, which: Tensor) -> Edits:
    """Some of the edited copies, in the order given."""
    place = torch.full((len(edits.row),), -1)
    place[which] = torch.arange(len(which))
    mine = place[edits.copy] >= 0
    entries = {name: getattr(edits, name)[mine] for name in ("position", "feature", "change")}
    return dataclasses.replace(edits, row=edits.row[which], copy=place[edits.copy][mine], **entries)
