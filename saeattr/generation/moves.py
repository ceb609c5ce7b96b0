"""How x is moved at a site while lists are written: features set to their base, stand-ins for them, a direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from saeattr.runs.base import SiteBase
from saeattr.runs.batch import BatchRuns, CorruptedTokens, effect_tokens
from saeattr.sites import Site
from saeattr.validation.controls import stand_in_move

#: From the activation at a site and that of the corrupted run (both [rows, pos, d_in], float32; the second None where
#: there is no such run) to what is added to the first.
Move = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, eq=False)
class Edit:
    """How x is moved at a site while lists are written.

    Attributes:
        site: where.
        move: what is added to x.
        like: the move that it should be as long as, token by token; None where it has none.
        lengths: how far x was moved so far, and how far ``like`` would have moved it: filled as lists are written.
    """

    site: Site
    move: Move
    like: Move | None = None
    lengths: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    def __call__(self, x: Tensor, corrupted: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The moved x, rounded to ``dtype``."""
        moved = (x + self.move(x, corrupted)).to(dtype)
        if self.like is not None:
            wanted = self.like(x, corrupted)
            self.lengths[:] += [float((moved - x).norm(dim=-1).sum()), float(wanted.norm(dim=-1).sum())]
        return moved

    @property
    def length_ratio(self) -> float:
        """How far x was moved against how far it should have been; NaN where nothing says so."""
        return float(self.lengths[0] / self.lengths[1]) if self.lengths[1] else float("nan")


def ablation(base: SiteBase, features: Sequence[int]) -> Move:
    """(f_base - f) W_dec of the named features; the corrupted base needs the corrupted run's x at each step."""
    few = _few(base, features)

    def move(x: Tensor, corrupted: Tensor | None) -> Tensor:
        return (_change(few, x, corrupted) @ few.sae.W_dec).view_as(x)

    return move


def stand_in(base: SiteBase, features: Sequence[int], others: Sequence[int]) -> Move:
    """As long as ``ablation`` of the features would move x, along the directions of others, one for each."""
    few = _few(base, features)
    rows = base.sae.W_dec[torch.tensor(list(others), dtype=torch.long, device=base.sae.W_dec.device)]

    def move(x: Tensor, corrupted: Tensor | None) -> Tensor:
        return stand_in_move(_change(few, x, corrupted), few.sae.W_dec, rows).view_as(x)

    return move


def steering(site: Site, direction: Float[Tensor, " d_in"]) -> Edit:
    """A direction taken off at every token."""
    return Edit(site, lambda x, corrupted: -direction)


def _few(base: SiteBase, features: Sequence[int]) -> SiteBase:
    return base.of_features(torch.tensor(list(features), dtype=torch.long, device=base.sae.W_dec.device))


def _change(few: SiteBase, x: Tensor, corrupted: Tensor | None) -> Float[Tensor, "tokens features"]:
    f = few.sae.encode(x.flatten(0, 1))
    return few.change(f, None if corrupted is None else CorruptedTokens(corrupted.flatten(0, 1)))


def mean_difference(batches: Sequence[BatchRuns], site: Site) -> Float[Tensor, " d_in"]:
    """Mean of clean minus corrupted x, from the first swapped word to the last decision, over tokens with a partner."""
    parts = []
    for batch in batches:
        chosen = effect_tokens(batch, "corrupted")
        corrupted = batch.corrupted_tokens(site, *chosen.nonzero(as_tuple=True))
        assert corrupted is not None
        differences = batch.clean.x[site][chosen].float() - corrupted.x
        parts.append(differences if corrupted.there is None else differences[corrupted.there])
    return torch.cat(parts).mean(0)
