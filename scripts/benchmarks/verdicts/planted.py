"""A small model whose truth is known: a Gemma 2 in a folder, opened as any model is, with its SAE and its pairs.

Everything random about it follows from one integer. ``population`` measures what the weights were written for: the
mean exact effect of every feature over pairs in which each token of both pools occurs equally often, and its median.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.verdicts.features import CLEAN, CORRUPTED, NEUTRAL, POOL, plant_features
from benchmarks.verdicts.weights import (
    BOS_ID,
    FIRST_TOKEN,
    LAST,
    SITES,
    UNWANTED,
    WANTED,
    Prompts,
    draw_geometry,
    write_model,
    write_sae,
)
from saeattr.behaviours.pair import BOS, Pair, Point
from saeattr.model.loading import LanguageModel, load_model
from saeattr.runs.base import SiteBase
from saeattr.runs.batch import metric_gap
from saeattr.runs.effects import feature_effects
from saeattr.runs.question import Pace
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.formats import SaeFile
from saeattr.saes.loading import find_saes, load_sae

GROUP = "planted"
#: Edited copies in one forward, and pairs: these models are small.
COPIES, BATCH = 512, 400
#: Rounds of balanced pairs, of which only the features' changes are looked at.
MANY = 100


@dataclass(frozen=True)
class PlantedModel:
    """A model, its only SAE, and what was planted.

    Attributes:
        truth: one row a feature of the SAE, in its order: feature, kind, size, share, variation, partner.
        amounts: of every feature at every token of the pools, [tokens, d_sae].
    """

    seed: int
    lm: LanguageModel
    sae: SaeFile
    prompts: Prompts
    truth: pd.DataFrame
    amounts: NDArray[np.float64]

    def task(self, pairs: list[Pair]) -> Task:
        return Task(self.lm, pairs, [self.sae], pace=Pace(BATCH, COPIES, self.seed))

    def make_pairs(self, n: int, seed: int) -> list[Pair]:
        """So many distinct pairs of random tokens; another seed draws fresh ones."""
        rng = np.random.default_rng([self.seed, seed])
        pairs: dict[tuple[object, ...], Pair] = {}
        while len(pairs) < n:
            swapped = [_ids(pool)[rng.integers(0, len(_ids(pool)), self.prompts.n_changed)] for pool in _SWAPPED]
            pair = self._pair(f"{seed}-{len(pairs)}", np.stack(swapped), rng)
            pairs.setdefault((pair.clean_ids, pair.corrupted_ids), pair)
        return list(pairs.values())

    def balanced_pairs(self) -> list[Pair]:
        """Pairs in which each token of a pool is swapped equally often: means over all possible pairs, less scatter."""
        rng = np.random.default_rng([self.seed, 3])
        return [self._pair(f"balanced-{nth}", swapped, rng) for nth, swapped in enumerate(self.swaps(1))]

    def swaps(self, rounds: int) -> NDArray[np.int64]:
        """Tokens to swap, each of a pool's as often as ``rounds``, [pairs, clean and corrupted, n_changed]."""
        rng = np.random.default_rng([self.seed, 4])
        times = (rounds, len(_SWAPPED), self.prompts.n_changed)
        drawn = [rng.permuted(np.broadcast_to(_ids(pool), (*times[::2], POOL)), axis=-1) for pool in _SWAPPED]
        return np.stack(drawn).transpose(1, 3, 0, 2).reshape(-1, *times[1:])

    def change(self, swapped: NDArray[np.int64]) -> NDArray[np.float64]:
        """How much each feature changes in pairs that swap these tokens, [pairs, clean and corrupted, n_changed]."""
        clean, corrupted = self.amounts[swapped - FIRST_TOKEN].sum(2).transpose(1, 0, 2)
        return corrupted - clean

    def _pair(self, pair_id: str, swapped: NDArray[np.int64], rng: np.random.Generator) -> Pair:
        """``swapped``: the tokens that differ, [clean and corrupted, n_changed]; all others are drawn."""
        n = self.prompts.n_tokens
        clean = np.concatenate([[BOS_ID], rng.choice(_ids(NEUTRAL), n - 2), [LAST]])
        places = 1 + rng.permutation(n - 2)[: self.prompts.n_changed]
        corrupted = clean.copy()
        clean[places], corrupted[places] = swapped
        point = Point(n - 1, (WANTED,), (UNWANTED,))
        ids = (tuple(clean.tolist()), tuple(corrupted.tolist()))
        return Pair(GROUP, pair_id, pair_id, *ids, (point,), (BOS, *["token"] * (n - 1)))


_SWAPPED = (CLEAN, CORRUPTED)


def _ids(pool: slice) -> NDArray[np.int64]:
    """The token ids of a pool."""
    return np.arange(FIRST_TOKEN + pool.start, FIRST_TOKEN + pool.stop)


def plant_model(seed: int, folder: Path) -> PlantedModel:
    """Write a model and its SAE into ``folder`` and open them."""
    rng = np.random.default_rng([seed, 2])
    planted = plant_features(seed)
    prompts = Prompts(int(rng.integers(6, 10)), int(rng.integers(1, 3)))
    site = SITES[rng.integers(len(SITES))]
    geometry = draw_geometry(planted, rng)
    # Kinds stand mixed in the SAE: where a feature stands tells nothing.
    order = rng.permutation(len(planted.truth))
    write_model(planted, prompts, geometry, rng, folder / "model")
    write_sae(geometry, site, order, folder / "saes" / str(site))
    place = np.append(np.argsort(order), -1)
    truth = planted.truth.drop(columns="read").assign(partner=place[planted.truth["partner"]])
    truth = truth.iloc[order].reset_index(drop=True)
    truth.insert(0, "feature", np.arange(len(truth)))
    amounts = np.pad(planted.amounts, ((0, 0), (0, len(order) - planted.amounts.shape[1])))[:, order]
    lm = load_model(str(folder / "model"), device="cpu")
    return PlantedModel(seed, lm, find_saes(str(folder / "saes"))[site], prompts, truth, amounts)


@torch.no_grad()
def population(model: PlantedModel) -> pd.DataFrame:
    """``truth`` with the mean and the median over all pairs of every feature's exact effect, and of the gap.

    Means are over balanced pairs. The median of 200 effects would scatter, and with it the truth that an interval is to
    hold; effects are proportional to a feature's change to within a few percent, so it is the slope of the one
    over the other times the median change in ``MANY`` rounds of balanced pairs.

    Returns:
        population, gap (means), population_median, gap_median.
    """
    (batch,) = run_pairs(model.task(model.balanced_pairs()), [model.sae.site])
    base = SiteBase.of(load_sae(model.sae), [batch])
    effects = feature_effects(batch, base, torch.arange(model.sae.d_sae), COPIES).double().numpy()
    gap = metric_gap([batch]).double().numpy()
    change = model.change(model.swaps(1)).T
    slope = (effects * change).sum(1) / np.maximum((change**2).sum(1), np.finfo(float).tiny)
    medians = slope * np.median(model.change(model.swaps(MANY)), axis=0)
    found = {"population": effects.mean(1), "population_median": medians}
    return model.truth.assign(**found, gap=gap.mean(), gap_median=np.median(gap))
