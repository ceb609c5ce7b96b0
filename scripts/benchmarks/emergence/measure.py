"""When does the bundled model learn to recall, and when do its phases and movers appear? Checkpoints of its training.

    python scripts/build_bundled.py --checkpoints runs/emergence
    python scripts/benchmark.py emergence [--checkpoints runs/emergence] [--last bundled] [--out docs]

Of every checkpoint the same, on facts that no checkpoint chose: all rows of the battery ``facts`` are asked; of the
first three facts of each relation, in their first phrasing, resid_pre and mlp_out are patched in every layer at the
entity and at the final position, and z of every head at the final position (corrupted into the clean run). A **share**
is the mean effect over facts divided by the mean swing, so that facts which a young model does not know do not blow it
up; where the mean swing's interval reaches 0 there is nothing to share, and none is given. Checkpoints that are
measured are kept (--rows). Writes docs/recall-emergence.md and its figure.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.emergence.figure import draw
from benchmarks.emergence.page import write_page
from saeattr.behaviours.pair import DECISION
from saeattr.errors import UserError
from saeattr.files import read_table, write_table
from saeattr.model.loading import LanguageModel, load_model
from saeattr.patching.activations import activations, parts_to_run
from saeattr.patching.components import COMPONENTS
from saeattr.patching.effects import exact_effects, make_patches
from saeattr.patching.places import find_places
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.facts.check import ENTITY, AlignedFact, align_facts
from saeattr.recall.facts.triage import measure_facts
from saeattr.recall.localisation.curves import FINAL
from saeattr.runs.batch import metric_gap
from saeattr.runs.task import Task, run_pairs
from saeattr.stats import mean_interval, ratio_interval

#: Facts of each relation that are patched: the first in the battery's order.
EACH = 3
KEY = ["what", "place", "layer", "head"]
#: What is patched, and at which roles; z head by head.
PATCHED = {"resid_pre": (ENTITY, DECISION), "mlp_out": (ENTITY, DECISION), "z": (DECISION,)}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/emergence"), help="made by build_bundled.py")
    parser.add_argument("--last", default="bundled", help="the trained model; none measures the checkpoints alone")
    parser.add_argument("--last-step", type=int, default=1800, help="steps that it was trained for")
    parser.add_argument("--rows", type=Path, default=Path("runs/emergence.parquet"), help="where measurements are kept")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    models = {int(path.name.removeprefix("step-")): str(path) for path in options.checkpoints.glob("step-*")}
    if options.last != "none":
        models[options.last_step] = options.last
    if not models:
        raise UserError(f"{options.checkpoints} has no checkpoints: python scripts/build_bundled.py --checkpoints")
    rows = read_table(options.rows) if options.rows.exists() else pd.DataFrame({"step": []})
    for step in sorted(set(models) - set(rows["step"])):
        started = time.monotonic()
        own = measure(load_model(models[step], device="cpu")).assign(step=step)
        rows = own if rows.empty else pd.concat([rows, own], ignore_index=True)
        write_table(options.rows, rows)
        print(f"step {step}: {time.monotonic() - started:.0f} s", flush=True)
    rows = rows[rows["step"].isin(models)].sort_values("step", kind="stable")
    draw(rows, options.out / "recall-emergence.png")
    write_page(rows, options.out / "recall-emergence.md")


def measure(lm: LanguageModel, each: int = EACH) -> pd.DataFrame:
    """What one checkpoint knows, and where it holds and moves it.

    Returns:
        what (known, first: shares of all rows; swing: logits; a component: shares of the swing), place, layer, head
        (-1 where there is none), value, low, high (95 %), n (rows or facts).
    """
    facts, faults = align_facts(lm.tokenizer, named_battery("facts").rows)
    assert not faults
    asked = measure_facts(lm, facts)
    found = [
        _row("known", asked["known"].to_numpy(float)),
        _row("first", (asked["rank_clean"] == 1).to_numpy(float)),
        _row("swing", asked["swing"].to_numpy()),
    ]
    task = Task(lm, [fact.pair for fact in first_facts(facts, each)])
    return pd.DataFrame([*found, *shares(patched(task))])


def first_facts(facts: Iterable[AlignedFact], each: int) -> list[AlignedFact]:
    """The first facts of each relation, in their first phrasing."""
    taken: dict[str, list[AlignedFact]] = {}
    for fact in facts:
        own = taken.setdefault(fact.row.category, [])
        if len(own) < each and fact.row.fact not in {one.row.fact for one in own}:
            own.append(fact)
    return [fact for own in taken.values() for fact in own]


def patched(task: Task) -> pd.DataFrame:
    """Every patch of ``PATCHED``: what, place, layer, head, effect, and gap, LD clean minus LD corrupted."""
    tables = []
    for name, roles in PATCHED.items():
        component = COMPONENTS[name]
        n_heads = component.n_heads(task.lm)
        for batch in run_pairs(task, parts_to_run([component], task.lm.n_layers)):
            places = [place for place in find_places(batch, "role", {}) if place.name in roles]
            patches = make_patches(places, n_heads, n_heads > 1)
            gap = -metric_gap([batch])[patches.row].double().numpy()
            own = {"what": name, "place": [place.name for place in places for _ in range(n_heads)], "gap": gap}
            for layer in range(task.lm.n_layers):
                effect = exact_effects(batch, activations(batch, component, layer), patches, task.pace.copies)
                rows = {**own, "layer": layer, "head": patches.head.numpy(), "effect": effect.double().numpy()}
                tables.append(pd.DataFrame(rows))
    return pd.concat(tables, ignore_index=True).replace({"place": {DECISION: FINAL}})


def shares(effects: pd.DataFrame) -> list[dict[str, Any]]:
    """The share of the mean swing that each patch moves; none where the mean swing may be 0."""
    rows = []
    for key, own in effects.groupby(KEY, sort=False):
        below = own["gap"].to_numpy()
        if not mean_interval(below[None])[0][0] > 0:
            continue
        value, low, high = ratio_interval(-own["effect"].to_numpy(), below)
        where = dict(zip(KEY, key, strict=True))
        rows.append({**where, "value": value, "low": low, "high": high, "n": len(own)})
    return rows


def _row(what: str, values: np.ndarray) -> dict[str, Any]:
    low, high = mean_interval(values[None])
    where = {"what": what, "place": "", "layer": -1, "head": -1}
    return {**where, "value": float(values.mean()), "low": float(low[0]), "high": float(high[0]), "n": len(values)}
