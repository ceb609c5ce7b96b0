"""How often are verdicts wrong? Small models with planted causes, real lists with a metric that means nothing, and
studies drawn from the exact effects of many lists.

Every model's rows are stored when it is done, so an interrupted run goes on, and ``--page-only`` writes the page of
what there is. What the columns of the rows mean: ``tabulate``.

    python scripts/benchmark.py verdicts [--models 300] [--rows runs/verdicts] [--page-only]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from benchmarks.verdicts.features import setting_of
from benchmarks.verdicts.measure_after import estimated, verdicts_after
from benchmarks.verdicts.measure_before import MEASURED, TOP, mean_attributions, run_for_before, verdicts_before
from benchmarks.verdicts.measure_shuffled import measure_shuffled
from benchmarks.verdicts.page import write_page
from benchmarks.verdicts.planted import PlantedModel, plant_model, population
from benchmarks.verdicts.population import measure_population
from benchmarks.verdicts.tabulate import NOT_TESTED
from saeattr.behaviours.lists.topics import TOPICS
from saeattr.behaviours.pair import distinct_pairs
from saeattr.files import write_table
from saeattr.saes.loading import find_saes
from saeattr.sites import Site, parse_site
from saeattr.tables import Feature

N_PAIRS = (6, 10, 20)
#: Sets of tested features: those of the highest ranks, and all kinds but the background, whatever their rank (with one
#: number of pairs only: it is the larger part of the work).
TOP_RANKED, PLANTED = "top 20", "planted"
PLANTED_PAIRS = 10
#: So many models are tested with every number of pairs, the others with ``PLANTED_PAIRS`` only.
ALL_PAIRS_MODELS = 100
#: Dead features among the second; more would only thin out the false discovery rate.
TESTED_DEAD = 6
#: Seeds of ``make_pairs``: the pairs that attribution sees, and fresh ones to test on.
RANKING, TESTING = 0, 1
#: Verdicts of one model, by set of tested features; each indexed by feature, with the columns of ``tabulate``.
Rule = Callable[[PlantedModel, int], Mapping[str, pd.DataFrame]]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=450, help="seeds 0, 1, ... of planted models")
    parser.add_argument("--topics", type=int, default=8, help="topics whose lists get a meaningless metric")
    parser.add_argument("--lists", type=int, default=1000, help="lists of the population that studies are drawn from")
    parser.add_argument("--sites", default="", help="sites of the population, with commas; all without it")
    parser.add_argument("--rows", type=Path, default=Path("runs/verdicts"), help="where measured rows are kept")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page and its figure")
    parser.add_argument("--page-only", action="store_true", help="measure nothing more")
    parser.add_argument("--quick", action="store_true", help="very little of everything, to see that it runs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = options.rows
    if not options.page_only:
        measure_planted(range(2 if options.quick else options.models), rows)
        topics = TOPICS[: 1 if options.quick else options.topics]
        for rule in RULES:
            measure_shuffled(topics, 1, N_PAIRS[:1] if options.quick else (PLANTED_PAIRS,), rows, rule)
        sites = [parse_site(name) for name in options.sites.split(",") if name]
        sites = [Site("resid_post", 5)] if options.quick else sites or sorted(find_saes("bundled"))
        measure_population(50 if options.quick else options.lists, sites, rows / "population")
    write_page(read_rows(rows / "planted"), read_rows(rows / "shuffled"), rows / "population", options.out)


def read_rows(folder: Path) -> pd.DataFrame:
    """All rows that were measured."""
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))], ignore_index=True)


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
    for n_pairs in N_PAIRS if model.seed < ALL_PAIRS_MODELS else (PLANTED_PAIRS,):
        for tested_by, table in RULES[rule](model, n_pairs).items():
            rows = truth.join(table[MEASURED], on="feature")
            parts.append(rows.assign(n_pairs=n_pairs, tested_by=tested_by))
    where = {"model": model.seed, "site": str(model.sae.site), "setting": setting_of(model.seed)}
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
