"""How often are verdicts wrong? Small models with planted causes, and real lists with a metric that means nothing.

Every model's rows are stored when it is done, so an interrupted run goes on, and ``--page-only`` tabulates what there
is. What the columns of the rows mean: ``tabulate``.

    python scripts/benchmark.py verdicts [--models 300] [--rows runs/verdicts] [--page-only]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from benchmarks.sections import markdown
from benchmarks.verdicts.features import is_crowded
from benchmarks.verdicts.measure_after import estimated, verdicts_after
from benchmarks.verdicts.measure_before import MEASURED, TOP, mean_attributions, run_for_before, verdicts_before
from benchmarks.verdicts.measure_shuffled import measure_shuffled
from benchmarks.verdicts.planted import PlantedModel, plant_model, population
from benchmarks.verdicts.tabulate import (
    NOT_TESTED,
    background_causal,
    causal_by_chance,
    inert_causal,
    interval_coverage,
    little_causal,
    paired_causal,
    recall_by_size,
)
from saeattr.behaviours.lists.topics import TOPICS
from saeattr.behaviours.pair import distinct_pairs
from saeattr.files import write_table
from saeattr.tables import Feature

N_PAIRS = (6, 10, 20)
#: Sets of tested features: those of the highest ranks, and all kinds but the background, whatever their rank (with one
#: number of pairs only: it is the larger part of the work).
TOP_RANKED, PLANTED = "top 20", "planted"
PLANTED_PAIRS = 10
#: Dead features among the second; more would only thin out the false discovery rate.
TESTED_DEAD = 6
#: Seeds of ``make_pairs``: the pairs that attribution sees, and fresh ones to test on.
RANKING, TESTING = 0, 1
#: Verdicts of one model, by set of tested features; each indexed by feature, with the columns of ``tabulate``.
Rule = Callable[[PlantedModel, int], Mapping[str, pd.DataFrame]]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=300, help="seeds 0, 1, ... of planted models")
    parser.add_argument("--draws", type=int, default=4, help="draws of the meaningless metric for each topic")
    parser.add_argument("--rows", type=Path, default=Path("runs/verdicts"), help="where measured rows are kept")
    parser.add_argument("--page-only", action="store_true", help="measure nothing more")
    parser.add_argument("--quick", action="store_true", help="two models, one draw for one topic, to see that it runs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if not options.page_only:
        measure_planted(range(2 if options.quick else options.models), options.rows)
        topics, draws = (TOPICS[:1], 1) if options.quick else (TOPICS, options.draws)
        measure_shuffled(topics, draws, N_PAIRS, options.rows)
    for name, tables in TABLES.items():
        parts = [pd.read_parquet(part) for part in sorted((options.rows / name).glob("*.parquet"))]
        if parts:
            print_tables(pd.concat(parts, ignore_index=True), tables)


def measure_planted(seeds: Sequence[int], folder: Path) -> None:
    """One file for each model and rule."""
    for seed in seeds:
        missing = {name: folder / "planted" / f"{name}-{seed:05}.parquet" for name in RULES}
        missing = {name: path for name, path in missing.items() if not path.exists()}
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as place:
            model = plant_model(seed, Path(place))
            truth = population(model)
            for name, path in missing.items():
                write_table(path, rows_of(model, truth, name))


def rows_of(model: PlantedModel, truth: pd.DataFrame, rule: str) -> pd.DataFrame:
    """The tidy rows of one model by one rule."""
    parts = []
    for n_pairs in N_PAIRS:
        for tested_by, table in RULES[rule](model, n_pairs).items():
            rows = truth.join(table[MEASURED], on="feature")
            parts.append(rows.assign(n_pairs=n_pairs, tested_by=tested_by))
    where = {"model": model.seed, "site": str(model.sae.site), "crowded": is_crowded(model.seed)}
    rows = pd.concat(parts, ignore_index=True).assign(rule=rule, **where)
    return rows.assign(verdict=rows["verdict"].fillna(NOT_TESTED))


def always_tested(truth: pd.DataFrame) -> list[int]:
    """Every planted feature but the background, and no more than ``TESTED_DEAD`` of the dead."""
    dead = truth.loc[truth["kind"] == "dead", "feature"].tolist()
    others = truth.loc[~truth["kind"].isin(["background", "dead"]), "feature"].tolist()
    return [*others, *dead[:TESTED_DEAD]]


def before(model: PlantedModel, n_pairs: int) -> dict[str, pd.DataFrame]:
    """The verdicts as they were, of both sets; ranked and tested on the same pairs."""
    task = model.task(model.make_pairs(n_pairs, RANKING))
    batches = run_for_before(task)
    estimates = mean_attributions(task, batches)
    sets: dict[str, list[Feature]] = {TOP_RANKED: list(estimates.index[:TOP])}
    if n_pairs == PLANTED_PAIRS:
        sets[PLANTED] = [(model.sae.site, feature) for feature in always_tested(model.truth)]
    tables = {name: verdicts_before(task, batches, estimates, chosen) for name, chosen in sets.items()}
    return {name: table.set_axis([feature for _, feature in table.index]) for name, table in tables.items()}


def after(model: PlantedModel, n_pairs: int) -> dict[str, pd.DataFrame]:
    """The verdicts of a study, of both sets; tested on as many pairs as ranked, and none of them."""
    task = model.task(model.make_pairs(n_pairs, RANKING))
    fresh = distinct_pairs(model.make_pairs(n_pairs, TESTING), task.pairs)
    features = estimated(task)
    found = {TOP_RANKED: verdicts_after(task, fresh, features)}
    if n_pairs == PLANTED_PAIRS:
        found[PLANTED] = verdicts_after(task, fresh, features, always_tested(model.truth))
    return found


RULES: dict[str, Rule] = {"before": before, "after": after}


#: What is printed, by the folder that its rows are in.
TABLES: dict[str, dict[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "planted": {
        "features that nothing reads, called causal": inert_causal,
        "background features, called causal": background_causal,
        "drivers": recall_by_size,
        "redundant and cancelling features": paired_causal,
        "coverage of the intervals of exact effects": interval_coverage,
        "called causal with an effect under 1 % of the gap": little_causal,
    },
    "shuffled": {"called causal though the metric means nothing": causal_by_chance},
}


def print_tables(rows: pd.DataFrame, tables: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]]) -> None:
    for title, tabulate in tables.items():
        print(f"\n{title}\n\n{markdown(tabulate(rows))}")
