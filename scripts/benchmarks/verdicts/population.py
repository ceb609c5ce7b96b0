"""Exact effects of all active features over many lists of the bundled model: a population to draw studies from.

What a study says of a feature, from a few lists, is held against the feature's effects in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.cases import list_pairs
from benchmarks.verdicts.before import bootstrap_interval, sign_flip_p
from saeattr.behaviours.pair import distinct_pairs
from saeattr.model.loading import load_model
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import metric_gap
from saeattr.runs.effects import feature_effects
from saeattr.runs.question import Pace
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import find_saes, stream_saes
from saeattr.sites import Site, parse_site
from saeattr.stats import benjamini_hochberg, mean_interval, median_interval, sign_test

TOPIC, BATCH = "cities", 64
#: Features tested in a study, by rank.
TOP = 20


@dataclass(frozen=True)
class Population:
    """Every active feature's exact effect in every list.

    Attributes:
        sites: of each feature.
        effects: [features, lists]. gap: corrupted minus clean metric of each list.
    """

    sites: list[Site]
    effects: NDArray[np.float64]
    gap: NDArray[np.float64]


def measure_population(n_lists: int, sites: Sequence[Site], folder: Path) -> None:
    """One file a site, with the rows of features that change anything; what is there is not measured again."""
    missing = [site for site in sites if not (folder / f"{site}.npz").exists()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    lm, found = load_model("bundled", device="cpu"), find_saes("bundled")
    pairs = distinct_pairs(list_pairs(lm, [TOPIC], n_lists))
    task = Task(lm, pairs, [found[site] for site in missing], pace=Pace(BATCH, BATCH))
    batches = run_pairs(task, missing)
    gap = metric_gap(batches).double().numpy()
    for sae in stream_saes(task.saes, lm.device):
        base, ids = SiteBase.of(sae, batches), torch.arange(sae.d_sae)
        effects = torch.cat([feature_effects(batch, base, ids, BATCH) for batch in batches], dim=1).numpy()
        active = (effects != 0).any(axis=1)
        with (folder / f"{sae.site}.npz").open("wb") as file:
            np.savez(file, effects=effects[active], gap=gap)


def read_population(folder: Path) -> Population:
    """All sites that were measured."""
    parts = [(parse_site(path.stem), np.load(path)) for path in sorted(folder.glob("*.npz"))]
    sites = [site for site, part in parts for _ in range(len(part["effects"]))]
    return Population(sites, np.concatenate([part["effects"] for _, part in parts]).astype(float), parts[0][1]["gap"])


def draw_studies(population: Population, n_lists: int, draws: int, smallest: float = 0.01) -> pd.DataFrame:
    """Studies of lists drawn from the population: features ranked on some, tested on as many others, or on the same.

    There are no controls here, so a feature is ``shown`` by its interval, its q-value and its share of the gap.

    Returns:
        one row for each draw, way (``median``: now; ``Student``: the mean, on fresh lists; ``before``: percentile
        bootstrap and sign flips of the mean, on the lists that ranked) and tested feature: activity (share of lists in
        which it changes anything), truth (what the interval is of), covered, q_value, shown, share_of_gap (of truth),
        right (truth has the sign that was seen).
    """
    source = np.random.default_rng(n_lists)
    mean, median = population.effects.mean(1), np.median(population.effects, axis=1)
    activity = (population.effects != 0).mean(axis=1)
    gap = abs(float(np.median(population.gap)))
    parts = []
    for draw in range(draws):
        lists = source.permutation(population.effects.shape[1])
        ranking, fresh = population.effects[:, lists[:n_lists]], population.effects[:, lists[n_lists : 2 * n_lists]]
        tested = np.argsort(-np.abs(ranking.mean(axis=1)), kind="stable")[:TOP]
        ways = {
            "median": (fresh, median, median_interval(fresh[tested]), sign_test(fresh[tested])),
            "Student": (fresh, mean, mean_interval(fresh[tested]), sign_test(fresh[tested])),
            "before": (ranking, mean, bootstrap_interval(ranking[tested], draw), sign_flip_p(ranking[tested], draw)),
        }
        for way, (values, truth, (low, high), p) in ways.items():
            middle = np.median(values[tested], axis=1) if way == "median" else values[tested].mean(axis=1)
            q = benjamini_hochberg(p)
            parts.append(
                pd.DataFrame(
                    {
                        "n_lists": n_lists,
                        "draw": draw,
                        "way": way,
                        "feature": tested,
                        "activity": activity[tested],
                        "truth": truth[tested],
                        "covered": (low <= truth[tested]) & (truth[tested] <= high),
                        "q_value": q,
                        "shown": ((low > 0) | (high < 0)) & (q <= 0.05) & (np.abs(middle) >= smallest * gap),
                        "share_of_gap": np.abs(truth[tested]) / gap,
                        "right": np.sign(truth[tested]) == np.sign(middle),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def summarise_studies(rows: pd.DataFrame) -> pd.DataFrame:
    """By way and number of lists: coverage, and what is wrong among what is shown.

    Returns:
        way, n_lists, tested, coverage, coverage_half (of features that change something in half of the lists or more),
        q_small (tests with q <= 0.05), wrong_sign (share of those whose truth is 0 or of the other sign), shown,
        little (share of those shown whose truth is under 1 % of the gap).
    """
    lines = []
    for (way, n_lists), own in rows.groupby(["way", "n_lists"], sort=False):
        small, shown = own[own["q_value"] <= 0.05], own[own["shown"]]
        lines.append(
            {
                "way": way,
                "n_lists": n_lists,
                "tested": len(own),
                "coverage": own["covered"].mean(),
                "coverage_half": own.loc[own["activity"] >= 0.5, "covered"].mean(),
                "q_small": len(small),
                "wrong_sign": (~small["right"]).mean(),
                "shown": len(shown),
                "little": (shown["share_of_gap"] < 0.01).mean(),
            }
        )
    return pd.DataFrame(lines)
