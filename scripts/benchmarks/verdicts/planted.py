"""A small model whose truth is known: a Gemma 2 in a folder, opened as any model is, with its SAE and its pairs.

Everything random about it follows from one integer. ``population`` measures what the weights were written for: the
mean (and median) exact effect of every feature over pairs in which each token of both pools occurs equally often.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.verdicts.features import CLEAN, CORRUPTED, NEUTRAL, plant_features
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


@dataclass(frozen=True)
class PlantedModel:
    """A model, its only SAE, and what was planted.

    Attributes:
        truth: one row a feature of the SAE, in its order: feature, kind, size, share, variation, partner.
    """

    seed: int
    lm: LanguageModel
    sae: SaeFile
    prompts: Prompts
    truth: pd.DataFrame

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
        drawn = [[rng.permutation(_ids(pool)) for _ in range(self.prompts.n_changed)] for pool in _SWAPPED]
        columns = np.array(drawn).transpose(2, 0, 1)
        return [self._pair(f"balanced-{nth}", swapped, rng) for nth, swapped in enumerate(columns)]

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
    lm = load_model(str(folder / "model"), device="cpu")
    return PlantedModel(seed, lm, find_saes(str(folder / "saes"))[site], prompts, truth)


@torch.no_grad()
def population(model: PlantedModel) -> pd.DataFrame:
    """``truth`` with the mean and the median over balanced pairs of every feature's exact effect, and of the gap."""
    (batch,) = run_pairs(model.task(model.balanced_pairs()), [model.sae.site])
    base = SiteBase.of(load_sae(model.sae), [batch])
    effects = feature_effects(batch, base, torch.arange(model.sae.d_sae), COPIES).double()
    gap = metric_gap([batch]).double()
    # torch's median is the lower of the two in the middle.
    medians = {"population_median": effects.quantile(0.5, dim=1).numpy(), "gap_median": float(gap.quantile(0.5))}
    return model.truth.assign(population=effects.mean(1).numpy(), gap=float(gap.mean()), **medians)
