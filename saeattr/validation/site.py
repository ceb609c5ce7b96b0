"""Exact effects at one site, pair by pair: of features by themselves, and along the directions of their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, pair_ids_of
from saeattr.runs.effects import Change, along_effects, feature_change, feature_effects
from saeattr.sites import Site
from saeattr.tables import EXACT, FEATURE, at_site, site_columns

#: By (feature, pair_id): where a feature's attribution is largest in a pair.
Strongest = Mapping[tuple[int, str], int]

#: Which pairs an exact effect is of: those that ranked the features, or those that test them.
Evidence = Literal["ranking", "test"]


@dataclass(frozen=True)
class SiteTest:
    """Measures at one site in some pairs.

    Attributes:
        copies: edited copies in one forward.
        strongest: patch only there; None patches all positions.
    """

    base: SiteBase
    batches: Sequence[BatchRuns]
    evidence: Evidence
    copies: int
    strongest: Strongest | None = None

    @property
    def pair_ids(self) -> list[str]:
        return pair_ids_of(self.batches)

    @property
    def n_pairs(self) -> int:
        return len(self.pair_ids)

    def along(self, feature: int, directions: Sequence[int]) -> pd.DataFrame:
        """Rows (``tables.EXACT``) of moving x as a feature's patch does, along its own and others' directions."""
        ids = torch.tensor(list(directions), dtype=torch.long, device=self.base.sae.W_dec.device)
        effects = [
            along_effects(batch, self.base.sae, feature, self._change(batch, feature), ids, self.copies)
            for batch in self.batches
        ]
        return self._rows([feature] * len(ids), list(directions), effects)

    def natural(self, features: Sequence[int]) -> pd.DataFrame:
        """Rows of features patched by themselves; those of several features share a forward."""
        if self.strongest is not None:
            return pd.concat([self.along(feature, [feature]) for feature in features], ignore_index=True)
        ids = torch.tensor(list(features), dtype=torch.long, device=self.base.sae.W_dec.device)
        effects = [feature_effects(batch, self.base, ids, self.copies) for batch in self.batches]
        return self._rows(list(features), list(features), effects)

    def _change(self, batch: BatchRuns, feature: int) -> Change:
        change = feature_change(batch, self.base, feature)
        if self.strongest is None:
            return change
        best = [self.strongest.get((feature, pair.pair_id), -1) for pair in batch.pairs]
        return change.take(change.position == torch.tensor(best, device=change.row.device)[change.row])

    def _rows(
        self, features: list[int], along: list[int], effects: Sequence[Float[Tensor, "moves batch"]]
    ) -> pd.DataFrame:
        table = pd.DataFrame(
            {
                "group": self.batches[0].pairs[0].group,
                **site_columns(self.base.sae.site),
                "feature": np.repeat(features, self.n_pairs),
                "along": np.repeat(along, self.n_pairs),
                "evidence": self.evidence,
                "pair_id": self.pair_ids * len(features),
                "exact": torch.cat(list(effects), dim=1).flatten().cpu().double().numpy(),
            }
        )
        return EXACT.frame(table)


def strongest_entries(attributions: pd.DataFrame) -> pd.DataFrame:
    """For every feature and pair, the row of attributions.parquet with the largest |effect| (the first such position).

    Args:
        attributions: layer, kind, feature, pair_id, position, effect.
    """
    keys = [*FEATURE, "pair_id"]
    size = attributions["effect"].abs()
    largest = size.groupby([attributions[key] for key in keys], sort=True).idxmax()
    return attributions.loc[largest.to_numpy(), [*keys, "position", "effect"]].reset_index(drop=True)


def strongest_at(entries: pd.DataFrame, site: Site) -> Strongest:
    """Those of one site, from ``strongest_entries``."""
    own = at_site(entries, site)
    keys = zip(own["feature"].astype(int), own["pair_id"], strict=True)
    return dict(zip(keys, own["position"].astype(int), strict=True))
