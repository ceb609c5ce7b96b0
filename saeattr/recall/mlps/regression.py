"""A vector regressed on vectors with one coefficient a source: y = sum_k w_k x_k + b, all in R^d.

Each w_k is one number, shared by all d dimensions; the intercept b is a vector. Over facts, with x and y centred, the
least squares are the normal equations of a (sources x sources) matrix, so a ridge costs nothing and is exact. The same
by gradient descent with momentum is what the source did (Lv et al. 2024, arXiv 2403.19521: rate 0.005, momentum 0.99,
60,000 steps).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

Fitting = Literal["ridge", "sgd"]
#: Shares of the centred sources' mean sum of squares, of which the inner folds choose one.
PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: Of gradient descent; the rate is that of sources scaled to a mean square of 1.
RATE, MOMENTUM, STEPS = 0.005, 0.99, 60_000


@dataclass(frozen=True)
class Moments:
    """Sums over facts: all that a fit needs to know of them."""

    n: float
    x: Float[ndarray, "sources d"]
    y: Float[ndarray, " d"]
    xx: Float[ndarray, "sources sources"]
    xy: Float[ndarray, " sources"]

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.x + other.x, self.y + other.y, self.xx + other.xx, self.xy + other.xy)

    @property
    def centred(self) -> tuple[Float[ndarray, "sources sources"], Float[ndarray, " sources"]]:
        """Products of the sources with each other and with y, each less its mean over facts."""
        return self.xx - self.x @ self.x.T / self.n, self.xy - self.x @ self.y / self.n


@dataclass(frozen=True)
class Data:
    """Sources and target of every fact."""

    x: Float[ndarray, "facts sources d"]
    y: Float[ndarray, "facts d"]

    def take(self, which: Int[ndarray, " some"]) -> Data:
        """Some of the facts."""
        return Data(self.x[which], self.y[which])

    def moments(self, times: Float[ndarray, " facts"]) -> Moments:
        """With each fact counted so many times; 0 leaves it out."""
        which = times > 0
        x, y, times = self.x[which], self.y[which], times[which]
        weighed = x * times[:, None, None]
        return Moments(
            float(times.sum()),
            weighed.sum(0),
            times @ y,
            np.tensordot(weighed, x, ((0, 2), (0, 2))),
            np.tensordot(weighed, y, ((0, 2), (0, 1))),
        )

    def errors(self, fit: Fit) -> Float[ndarray, " facts"]:
        """Squared length of what a fit leaves of y, fact by fact."""
        left = self.y - np.einsum("k,nkd->nd", fit.weights, self.x) - fit.intercept
        return np.square(left).sum(1)


@dataclass(frozen=True)
class Fit:
    """Coefficients, the intercept, and the share of the sources' size that was added as a penalty."""

    weights: Float[ndarray, " sources"]
    intercept: Float[ndarray, " d"]
    penalty: float = 0.0


def fit_ridge(sums: Moments, penalty: float) -> Fit:
    """The ridge in closed form; the intercept is not penalised, and a source that never varies gets 0.

    Args:
        penalty: as a share of the centred sources' mean sum of squares, so that it has no unit.
    """
    products, cross = sums.centred
    size = np.trace(products) / len(products)
    weights = np.linalg.lstsq(products + penalty * size * np.eye(len(products)), cross, rcond=None)[0]
    return Fit(weights, (sums.y - weights @ sums.x) / sums.n, penalty)


def fit_sgd(sums: Moments, steps: int = STEPS, rate: float = RATE, momentum: float = MOMENTUM) -> Fit:
    """Least squares by gradient descent with momentum on all facts at once, from zero; no penalty.

    Sources are divided by one number, their root mean square, so that the rate means the same in every model. The
    intercept is descended along with the coefficients, as the source does.
    """
    n, d = sums.n, len(sums.y)
    size = np.sqrt(np.trace(sums.xx) / (n * d * len(sums.x))) or 1.0
    x, xx, xy = sums.x / size, sums.xx / size**2, sums.xy / size
    weights, intercept = np.zeros(len(x)), np.zeros(d)
    speed, speed_b = np.zeros_like(weights), np.zeros_like(intercept)
    for _ in range(steps):
        # Of the squared error in the mean over facts, and over dimensions for the coefficients.
        slope = (xx @ weights + x @ intercept - xy) / (n * d)
        slope_b = (weights @ x + n * intercept - sums.y) / n
        speed, speed_b = momentum * speed - rate * slope, momentum * speed_b - rate * slope_b
        weights, intercept = weights + speed, intercept + speed_b
    return Fit(weights / size, intercept)


@dataclass(frozen=True)
class HeldOut:
    """Fits of all folds but one, each judged by that one.

    Attributes:
        fits: by the fold that each did not see.
        errors, spread: of each fact by the fit that did not see it: squared error of the prediction, and squared
            distance from the mean of what that fit saw, which is the error of an intercept alone.
    """

    folds: Int[ndarray, " facts"]
    fits: Sequence[Fit]
    errors: Float[ndarray, " facts"]
    spread: Float[ndarray, " facts"]

    @property
    def r2(self) -> float:
        """1 - errors / spread: an intercept alone has 0."""
        return float(1 - self.errors.sum() / self.spread.sum())


def fit_chosen(blocks: Sequence[Data], fitting: Fitting = "ridge") -> Fit:
    """A fit of some folds together; the penalty of a ridge is what predicts each of them best from the others."""
    sums = [block.moments(np.ones(len(block.y))) for block in blocks]
    whole = _total(sums)
    if fitting == "sgd":
        return fit_sgd(whole)
    if len(blocks) < 2:
        return fit_ridge(whole, PENALTIES[0])

    def missed(penalty: float) -> float:
        rest = [_total([*sums[:at], *sums[at + 1 :]]) for at in range(len(sums))]
        return sum(block.errors(fit_ridge(one, penalty)).sum() for block, one in zip(blocks, rest, strict=True))

    return fit_ridge(whole, min(PENALTIES, key=missed))


def _total(sums: Sequence[Moments]) -> Moments:
    total = sums[0]
    for one in sums[1:]:
        total = total + one
    return total


def cross_fit(data: Data, folds: Int[ndarray, " facts"], fitting: Fitting = "ridge") -> HeldOut:
    """Fit all folds but one, predict that one; each fold's penalty is chosen within the others."""
    errors, spread, fits = np.zeros(len(folds)), np.zeros(len(folds)), []
    blocks = [data.take(np.flatnonzero(folds == fold)) for fold in range(int(folds.max()) + 1)]
    for fold, block in enumerate(blocks):
        seen = [*blocks[:fold], *blocks[fold + 1 :]]
        fit = fit_chosen(seen, fitting)
        mean = np.concatenate([one.y for one in seen]).mean(0)
        errors[folds == fold] = block.errors(fit)
        spread[folds == fold] = np.square(block.y - mean).sum(1)
        fits.append(fit)
    return HeldOut(folds, fits, errors, spread)


def map_r2(x: Float[ndarray, "facts d"], y: Float[ndarray, "facts d"], folds: Int[ndarray, " facts"]) -> float:
    """R2 on held-out facts of a whole linear map of a vector, with d x d numbers in place of one a source.

    A ridge in the space of facts, of which there are fewer than numbers; its penalty is chosen within the other folds.
    """
    names = sorted(set(folds.tolist()))

    def missed(seen: Sequence[int], held: int, penalty: float) -> tuple[float, float]:
        a, b = np.isin(folds, seen), folds == held
        centre, mean = x[a].mean(0), y[a].mean(0)
        own = x[a] - centre
        products = own @ own.T
        size = penalty * np.trace(products) / len(products)
        solved = np.linalg.solve(products + size * np.eye(len(products)), y[a] - mean)
        found = (x[b] - centre) @ own.T @ solved + mean
        return float(np.square(y[b] - found).sum()), float(np.square(y[b] - mean).sum())

    errors = spread = 0.0
    for held in names:
        seen = [fold for fold in names if fold != held]
        of = {p: sum(missed([one for one in seen if one != inner], inner, p)[0] for inner in seen) for p in PENALTIES}
        left, whole = missed(seen, held, min(of, key=lambda penalty: of[penalty]))
        errors, spread = errors + left, spread + whole
    return 1 - errors / spread


def resampled(families: Sequence[object], draws: int, seed: int) -> Float[ndarray, "draws facts"]:
    """How often each fact is in each bootstrap draw; facts of one family are drawn together."""
    names = {family: at for at, family in enumerate(dict.fromkeys(families))}
    of_fact = np.array([names[family] for family in families])
    generator = np.random.default_rng(seed)
    picked = generator.integers(0, len(names), (draws, len(names)))
    counts = np.stack([np.bincount(one, minlength=len(names)) for one in picked])
    return counts[:, of_fact].astype(float)


def interval(draws: Float[ndarray, "draws ..."]) -> tuple[ndarray, ndarray]:
    """Both ends of a 95 % interval, over bootstrap draws."""
    low, high = np.nanpercentile(draws, [2.5, 97.5], axis=0)
    return low, high
