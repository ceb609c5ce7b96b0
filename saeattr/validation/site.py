"""Exact effects of the tested features of one site and of their controls, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns
from saeattr.runs.effects import Entries, entry_effects, feature_effects
from saeattr.sites import Site
from saeattr.tables import FEATURE, at_site
from saeattr.validation.controls import SiteProfile, match_controls

#: By (feature, pair_id): where a feature's attribution is largest in a pair.
Strongest = Mapping[tuple[int, str], int]


@dataclass(frozen=True)
class SiteTest:
    """Measures features of one site; one that is a control of several is measured once.

    Attributes:
        tested: never chosen as controls.
        copies: edited copies in one forward.
        strongest: patch only there; None patches all positions.
        effects: what is known by now, by feature: one effect for each pair.
    """

    base: SiteBase
    batches: Sequence[BatchRuns]
    profile: SiteProfile
    tested: tuple[int, ...]
    n_controls: int
    copies: int
    strongest: Strongest | None = None
    effects: dict[int, np.ndarray] = field(default_factory=dict)

    def measure(self, feature: int) -> pd.DataFrame:
        """The part (``tables.EXACT``) of one tested feature."""
        patched = [feature, *map(int, match_controls(self.profile, feature, self.tested, self.n_controls))]
        missing = [one for one in patched if one not in self.effects]
        found = torch.cat([self._effects(batch, missing) for batch in self.batches], dim=1).cpu().double().numpy()
        self.effects.update(zip(missing, found, strict=True))
        pairs = [pair for batch in self.batches for pair in batch.pairs]
        return pd.DataFrame(
            {
                "group": pairs[0].group,
                "layer": np.int16(self.base.sae.site.layer),
                "kind": self.base.sae.site.kind,
                "feature": np.int32(feature),
                "patched": np.repeat(np.array(patched, dtype=np.int32), len(pairs)),
                "pair_id": [pair.pair_id for pair in pairs] * len(patched),
                "exact": np.concatenate([self.effects[one] for one in patched]),
            }
        )

    def remember(self, part: pd.DataFrame) -> None:
        """Take over what an earlier run measured."""
        for patched, own in part.groupby("patched"):
            self.effects[int(patched)] = own["exact"].to_numpy()  # pyright: ignore[reportArgumentType]

    def _effects(self, batch: BatchRuns, features: list[int]) -> Float[Tensor, "features batch"]:
        device = self.base.sae.W_dec.device
        if self.strongest is None:
            ids = torch.tensor(features, dtype=torch.long, device=device)
            return feature_effects(batch, self.base, ids, self.copies)
        entries = [
            (nth, row, self.strongest[feature, pair.pair_id], feature)
            for nth, feature in enumerate(features)
            for row, pair in enumerate(batch.pairs)
            if (feature, pair.pair_id) in self.strongest
        ]
        nth, row, position, feature = torch.tensor(entries, dtype=torch.long, device=device).view(-1, 4).T
        effects = torch.zeros(len(features), len(batch.pairs), device=device)
        effects[nth, row] = entry_effects(batch, self.base, Entries(row, position, feature), self.copies)
        return effects


def strongest_entries(attributions: pd.DataFrame) -> pd.DataFrame:
    """For every feature and list, the row of attributions.parquet with the largest |effect| (the first such position).

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
