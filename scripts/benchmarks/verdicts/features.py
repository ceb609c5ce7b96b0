"""What is planted: features of several kinds, how active each is at every token, and its share of the gap.

The share of a feature is what patching it alone is meant to change, as a part of the mean corrupted-minus-clean metric;
kinds that nothing reads have the share 0. A pair swaps tokens of the clean pool for tokens of the corrupted pool, so a
feature's change in a pair is the difference of two draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Amounts = NDArray[np.float64]

#: Tokens of each pool, as rows of ``PlantedFeatures.amounts``: those that stay, and those that are swapped.
NEUTRAL, CLEAN, CORRUPTED = slice(0, 256), slice(256, 456), slice(456, 656)
N_TOKENS, POOL = 656, 200

#: Shares of the gap, each planted with both signs.
SIZES = (0.002, 0.005, 0.02, 0.05, 0.10, 0.30)
#: Two drivers more, so that the shares add up to about 1.
MORE = (0.30, 0.30)
#: What the two redundant pairs do together, and each member of the cancelling pairs alone.
REDUNDANT, CANCELLING = (0.20, 0.15), (0.10, 0.03)
N_CORRELATES, N_FREQUENT, N_ACTIVE, N_DEAD = 6, 6, 100, 28
#: Standard deviation over pairs of what a background feature does, as a share of the gap: log-uniform between these.
BACKGROUND_SPREAD = {"crowded": (0.002, 0.04), "few causes": (0.002, 0.04), "quiet background": (0.0005, 0.01)}

#: How amounts vary from token to token, each with mean 1 and none below 0.
VARIATIONS: dict[str, Callable[[np.random.Generator, int], Amounts]] = {
    "constant": lambda rng, n: np.maximum(0, rng.normal(1, 0.05, n)),
    "normal": lambda rng, n: np.maximum(0, rng.normal(1, 0.4, n)),
    "exponential": lambda rng, n: rng.exponential(1, n),
    "lognormal": lambda rng, n: rng.lognormal(-0.5, 1, n),
    "in part": lambda rng, n: np.where(rng.random(n) < 0.4, np.maximum(0, rng.normal(2.5, 0.5, n)), 0),
    "either sign": lambda rng, n: rng.exponential(1, n),
}
#: Amount in the pool where a feature is weaker, as a share: absent, but where its change is to have either sign.
WEAKER = {"either sign": 0.5}
#: Of the first models every third is crowded: one in six of its active features moves the metric. In the others few do.
#: In those from ``QUIET_FROM`` on, what all others do is little, too.
CROWDED_EVERY, QUIET_FROM = 3, 300
#: Single drivers of a model that is not crowded.
FEW_DRIVERS = 2


@dataclass(frozen=True)
class PlantedFeatures:
    """The features of one model; the active ones first.

    Attributes:
        truth: one row a feature: kind, size (its class, in words), share, variation, partner (the feature it forms a
            pair with or follows; -1 for none).
        amounts: activation at every token, [tokens, active features].
    """

    truth: pd.DataFrame
    amounts: Amounts

    @property
    def mean_change(self) -> Amounts:
        """Mean amount in the corrupted pool minus that in the clean pool, [active features]."""
        return self.amounts[CORRUPTED].mean(0) - self.amounts[CLEAN].mean(0)

    @property
    def reads(self) -> Amounts:
        """Share of the gap for each unit of a feature's change, [active features]; 0 for what nothing reads alone."""
        shares = self.truth["share"].to_numpy()[: self.amounts.shape[1]]
        given = self.truth["read"].to_numpy()[: self.amounts.shape[1]]
        change = self.mean_change
        return np.where(np.isnan(given), np.divide(shares, change, out=np.zeros_like(shares), where=shares != 0), given)


@dataclass(frozen=True)
class _Draft:
    """A feature before it has its index: the columns of ``truth``, and its amounts; ``read`` where it comes first."""

    kind: str
    size: str
    share: float
    variation: str
    amounts: Amounts
    partner: int = -1
    read: float = np.nan


def setting_of(seed: int) -> str:
    """``crowded``, ``few causes`` or ``quiet background``."""
    if seed >= QUIET_FROM:
        return "quiet background"
    return "few causes" if seed % CROWDED_EVERY else "crowded"


def plant_features(seed: int) -> PlantedFeatures:
    """Draw all features of a model."""
    rng = np.random.default_rng([seed, 1])
    setting = setting_of(seed)
    crowded = setting == "crowded"
    drafts: list[_Draft] = [_driver(share, rng) for share in _shares(crowded, rng)]
    followed = rng.permutation([at for at, draft in enumerate(drafts) if abs(draft.share) >= SIZES[2]])
    drafts += [_follow(drafts[at], at, "correlate", 0.0, rng) for at in followed[:N_CORRELATES].tolist()]
    for share in REDUNDANT:
        drafts += [_redundant(share, len(drafts) + other, rng) for other in (1, 0)]
    for share in CANCELLING if crowded else rng.permutation(CANCELLING)[:1]:
        first = _driver(share, rng, "cancelling", partner=len(drafts) + 1)
        drafts += [first, _follow(first, len(drafts), "cancelling", -share, rng)]
    drafts += [_frequent(rng) for _ in range(N_FREQUENT)]
    # As many active features in all models.
    spread = BACKGROUND_SPREAD[setting]
    drafts += [_background(nth % 2 == 0, spread, rng) for nth in range(N_ACTIVE - len(drafts))]
    columns = ("kind", "size", "share", "variation", "partner", "read")
    rows = [tuple(getattr(draft, name) for name in columns) for draft in drafts]
    rows += [("dead", "none", 0.0, "none", -1, 0.0)] * N_DEAD
    return PlantedFeatures(
        pd.DataFrame(rows, columns=pd.Index(columns)), np.stack([draft.amounts for draft in drafts], axis=1)
    )


def _shares(crowded: bool, rng: np.random.Generator) -> list[float]:
    """Of the single drivers: every size with both signs, or a few at random."""
    if crowded:
        return [share for size in SIZES for share in (size, -size)] + list(MORE)
    return (rng.choice(SIZES, FEW_DRIVERS) * rng.choice([-1.0, 1.0], FEW_DRIVERS)).tolist()


def _driver(share: float, rng: np.random.Generator, kind: str = "driver", partner: int = -1) -> _Draft:
    """Moves the metric alone: larger in one pool; in the other absent, or half as large (``WEAKER``)."""
    variation = _any_variation(rng)
    level, side = WEAKER.get(variation, 0.0), rng.choice([-1, 1])
    on, off = (CLEAN, CORRUPTED) if side < 0 else (CORRUPTED, CLEAN)
    amounts = np.zeros(N_TOKENS)
    amounts[on], amounts[off] = VARIATIONS[variation](rng, POOL), level * VARIATIONS[variation](rng, POOL)
    return _Draft(kind, _percent(share), share, variation, amounts * _amount(rng), partner)


def _follow(leader: _Draft, at: int, kind: str, share: float, rng: np.random.Generator) -> _Draft:
    """Changes whenever another does, by another amount."""
    size = _percent(share) if share else "none"
    return _Draft(kind, size, share, leader.variation, leader.amounts * _amount(rng), at)


def _redundant(share: float, partner: int, rng: np.random.Generator) -> _Draft:
    """Active in the clean pool and never under 0.8, which suffices for the saturating reader (``weights``)."""
    amounts = np.zeros(N_TOKENS)
    amounts[CLEAN] = 0.8 + 0.4 * VARIATIONS["exponential"](rng, POOL)
    return _Draft("redundant", f"{_percent(share)} together", 0.0, "exponential", amounts, partner, read=0.0)


def _frequent(rng: np.random.Generator) -> _Draft:
    """Active at most tokens of every pool, twice as much in one of the two that are swapped; read by nothing."""
    amounts = np.maximum(0, rng.normal(1, 0.4, N_TOKENS))
    amounts[CLEAN if rng.random() < 0.5 else CORRUPTED] *= 2
    return _Draft("frequent", "none", 0.0, "normal", amounts * _amount(rng))


def _background(balanced: bool, between: tuple[float, float], rng: np.random.Generator) -> _Draft:
    """Present in part of the tokens of every pool and read a little, in either direction.

    A balanced one has equal means in both pools, so that its effects are 0 in the mean over all pairs and in no single
    one; the mean of another differs by up to 40 %.
    """
    amounts = VARIATIONS[_any_variation(rng)](rng, N_TOKENS) * _amount(rng)
    amounts *= rng.random(N_TOKENS) < rng.uniform(0.15, 0.7)
    amounts[CORRUPTED] *= amounts[CLEAN].mean() / amounts[CORRUPTED].mean()
    if not balanced:
        amounts[CORRUPTED] *= 1 + rng.choice([-1, 1]) * rng.uniform(0.1, 0.4)
    low, high = np.log(between)
    spread = np.exp(rng.uniform(low, high)) * rng.choice([-1, 1])
    read = spread / np.hypot(amounts[CLEAN].std(), amounts[CORRUPTED].std())
    share = 0.0 if balanced else read * (amounts[CORRUPTED].mean() - amounts[CLEAN].mean())
    return _Draft("background", "no mean" if balanced else "little", share, "sparse", amounts, read=read)


def _any_variation(rng: np.random.Generator) -> str:
    names: Sequence[str] = list(VARIATIONS)
    return names[rng.integers(len(names))]


def _amount(rng: np.random.Generator) -> float:
    return float(rng.lognormal(0, 0.4))


def _percent(share: float) -> str:
    return f"{100 * abs(share):g} %"
