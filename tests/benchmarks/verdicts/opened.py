"""Two models with planted causes, and what editing the plain Hugging Face model tells of them."""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from saeattr.behaviours.pair import Pair
from saeattr.sites import Site
from tests import plain

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from benchmarks.verdicts.features import setting_of
from benchmarks.verdicts.planted import PlantedModel, plant_model
from benchmarks.verdicts.weights import SITES, UNWANTED, WANTED

#: One crowded model at each site.
SEEDS = {SITES[0]: 0, SITES[1]: 3}


@dataclass(frozen=True)
class Opened:
    """A planted model beside what was written to disk, and pairs of its tokens."""

    planted: PlantedModel
    hf: torch.nn.Module
    sae: dict[str, Tensor]
    clean: Tensor
    corrupted: Tensor

    @classmethod
    def on(cls, planted: PlantedModel, hf: torch.nn.Module, pairs: Sequence[Pair]) -> Opened:
        clean, corrupted = (
            torch.tensor([getattr(pair, name) for pair in pairs]) for name in ("clean_ids", "corrupted_ids")
        )
        return cls(planted, hf, load_file(planted.sae.weights), clean, corrupted)

    @property
    def gap(self) -> float:
        return float((self.metric(self.corrupted) - self.metric(self.clean)).mean())

    @property
    def gap_median(self) -> float:
        return float((self.metric(self.corrupted) - self.metric(self.clean)).double().quantile(0.5))

    def metric(self, ids: Tensor) -> Tensor:
        with torch.no_grad():
            logits = self.hf(input_ids=ids).logits[:, -1]
        return logits[:, WANTED] - logits[:, UNWANTED]

    def effect(self, features: Sequence[int]) -> float:
        """What the features do together when all are patched to their corrupted value: the metric's mean change."""
        return float(self.effects(features).mean())

    def effects(self, features: Sequence[int]) -> Tensor:
        """The same pair by pair."""
        site, chosen = self.planted.sae.site, list(features)
        change = self.activations(self.corrupted)[..., chosen] - self.activations(self.clean)[..., chosen]
        with plain.edited(self.hf, site, lambda x: x + change @ self.sae["W_dec"][chosen]):
            patched = self.metric(self.clean)
        return patched - self.metric(self.clean)

    def share(self, features: Sequence[int]) -> float:
        """Of the gap."""
        return self.effect(features) / self.gap

    def shares(self, kind: str) -> dict[int, float]:
        """Of each feature of a kind, alone."""
        truth = self.planted.truth
        return {feature: self.share([feature]) for feature in truth.loc[truth["kind"] == kind, "feature"]}

    def pairs(self, kind: str) -> list[list[int]]:
        """The features of a kind, each with its partner."""
        own = self.planted.truth.query("kind == @kind and feature < partner")
        return own[["feature", "partner"]].to_numpy().tolist()

    def activations(self, ids: Tensor) -> Tensor:
        seen: list[Tensor] = []
        with torch.no_grad(), plain.edited(self.hf, self.planted.sae.site, lambda x: seen.append(x) or x):
            self.hf(input_ids=ids)
        pre = seen[0] @ self.sae["W_enc"] + self.sae["b_enc"]
        return pre * (pre > self.sae["threshold"])


@functools.cache
def opened(site: Site) -> Opened:
    folder = Path(tempfile.mkdtemp())
    planted = plant_model(SEEDS[site], folder)
    assert planted.sae.site == site
    assert setting_of(planted.seed) == "crowded"
    hf = AutoModelForCausalLM.from_pretrained(folder / "model", attn_implementation="eager").eval()
    return Opened.on(planted, hf, planted.balanced_pairs())
