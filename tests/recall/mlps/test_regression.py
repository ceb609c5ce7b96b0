"""One coefficient a source and a vector intercept: planted numbers, least squares by hand, gradient descent, folds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from saeattr.recall.mlps.folds import split_families
from saeattr.recall.mlps.regression import Data, cross_fit, fit_chosen, fit_ridge, fit_sgd, map_r2, resampled

WEIGHTS = np.array([0.7, -1.0, 0.0, 2.5])


def planted(n: int = 40, d: int = 12, noise: float = 0.0) -> tuple[Data, np.ndarray]:
    """Facts whose target is known sums of four sources of unequal size, an intercept and noise."""
    generator = np.random.default_rng(3)
    sizes = np.array([1.0, 0.3, 2.0, 0.1])[None, :, None]
    x = generator.standard_normal((n, 4, d)) * sizes + generator.standard_normal((4, d))
    intercept = generator.standard_normal(d)
    y = np.einsum("k,nkd->nd", WEIGHTS, x) + intercept + noise * generator.standard_normal((n, d))
    return Data(x, y), intercept


def by_hand(data: Data, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Every dimension of every fact is an equation; the intercept has a column for each dimension, without penalty."""
    n, k, d = data.x.shape
    sources = data.x.transpose(0, 2, 1).reshape(n * d, k)
    design = np.concatenate([sources, np.tile(np.eye(d), (n, 1))], axis=1)
    extra = np.concatenate([np.sqrt(ridge) * np.eye(k), np.zeros((k, d))], axis=1)
    target = np.concatenate([data.y.reshape(-1), np.zeros(k)])
    found = np.linalg.lstsq(np.concatenate([design, extra]), target, rcond=None)[0]
    return found[:k], found[k:]


def every(data: Data) -> np.ndarray:
    return np.ones(len(data.y))


def test_planted_coefficients_and_intercept_are_recovered() -> None:
    data, intercept = planted()
    fit = fit_ridge(data.moments(every(data)), 0.0)
    np.testing.assert_allclose(fit.weights, WEIGHTS, atol=1e-9)
    np.testing.assert_allclose(fit.intercept, intercept, atol=1e-9)
    noisy, intercept = planted(n=400, noise=0.5)
    fit = fit_ridge(noisy.moments(every(noisy)), 1e-6)
    np.testing.assert_allclose(fit.weights, WEIGHTS, atol=0.1)
    np.testing.assert_allclose(fit.intercept, intercept, atol=0.2)


@pytest.mark.parametrize("penalty", [0.0, 0.01, 1.0])
def test_the_ridge_is_that_of_one_equation_for_each_dimension_of_each_fact(penalty: float) -> None:
    data, _ = planted(noise=1.0)
    centred = data.x - data.x.mean(0)
    weights, intercept = by_hand(data, penalty * np.square(centred).sum() / 4)
    fit = fit_ridge(data.moments(every(data)), penalty)
    np.testing.assert_allclose(fit.weights, weights, atol=1e-9)
    np.testing.assert_allclose(fit.intercept, intercept, atol=1e-9)


def test_gradient_descent_finds_the_least_squares() -> None:
    data, _ = planted(noise=1.0)
    data = Data(data.x * np.array([1.0, 3.0, 0.5, 8.0])[None, :, None], data.y)
    ridge, sgd = fit_ridge(data.moments(every(data)), 0.0), fit_sgd(data.moments(every(data)))
    np.testing.assert_allclose(sgd.weights, ridge.weights, atol=1e-4)
    np.testing.assert_allclose(sgd.intercept, ridge.intercept, atol=1e-4)


def test_a_source_that_never_varies_gets_nothing_and_a_fact_counted_twice_is_two_facts() -> None:
    data, _ = planted(noise=1.0)
    still = Data(np.concatenate([data.x, np.ones((40, 1, 12))], axis=1), data.y)
    assert fit_ridge(still.moments(every(still)), 1e-6).weights[-1] == pytest.approx(0.0, abs=1e-9)
    times = np.array([2.0] * 10 + [1.0] * 20 + [0.0] * 10)
    doubled = Data(np.repeat(data.x, times.astype(int), axis=0), np.repeat(data.y, times.astype(int), axis=0))
    one, other = fit_ridge(data.moments(times), 0.1), fit_ridge(doubled.moments(every(doubled)), 0.1)
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-10)


def test_r2_is_of_held_out_facts_and_an_intercept_alone_has_0() -> None:
    noisy, _ = planted(n=200, noise=1.0)
    folds = np.arange(200) % 4
    held = cross_fit(noisy, folds)
    signal = np.square(np.einsum("k,nkd->nd", WEIGHTS, noisy.x - noisy.x.mean(0))).sum() / noisy.y.size
    assert held.r2 == pytest.approx(signal / (signal + 1.0), abs=0.05)
    # Without any source that tells something, the mean of the others is all there is.
    blind = Data(np.zeros_like(noisy.x), noisy.y)
    assert cross_fit(blind, folds).r2 == pytest.approx(0.0, abs=1e-12)
    shuffled = Data(noisy.x[np.random.default_rng(0).permutation(200)], noisy.y)
    assert -0.05 < cross_fit(shuffled, folds).r2 < 0.2 * held.r2


def test_a_fit_does_not_see_the_fold_that_judges_it() -> None:
    data, _ = planted(noise=1.0)
    folds = np.arange(40) % 4
    changed = dataclasses.replace(data, y=np.where((folds == 2)[:, None], 100.0, data.y))
    before, after = cross_fit(data, folds), cross_fit(changed, folds)
    np.testing.assert_array_equal(before.fits[2].weights, after.fits[2].weights)
    assert (before.fits[1].weights != after.fits[1].weights).any()
    assert (after.errors[folds == 2] > before.errors[folds == 2]).all()


def test_noise_is_met_with_a_larger_penalty() -> None:
    clear, _ = planted()
    generator = np.random.default_rng(5)
    noise = Data(clear.x, generator.standard_normal(clear.y.shape))
    blocks = [[data.take(np.arange(at, 40, 4)) for at in range(4)] for data in (clear, noise)]
    assert fit_chosen(blocks[0]).penalty < fit_chosen(blocks[1]).penalty


def test_folds_keep_families_together_and_are_of_like_size() -> None:
    answers = ["Paris"] * 5 + ["Rome"] * 3 + [f"other {at}" for at in range(12)]
    folds = split_families(answers, 4, seed=1)
    assert folds is not None
    assert len(set(folds[:5])) == len(set(folds[5:8])) == 1
    assert sorted(np.bincount(folds)) == [5, 5, 5, 5]
    assert split_families(["Paris", "Rome", "Paris"], 4) is None
    times = resampled(answers, 50, 0)
    assert (times[:, :5] == times[:, :1]).all()
    assert times[:, 5:].std() > 0


def test_a_whole_map_finds_what_one_number_a_source_cannot() -> None:
    generator = np.random.default_rng(8)
    x, turned = generator.standard_normal((120, 10)), generator.standard_normal((10, 10))
    y, folds = x @ turned + 3.0, np.arange(120) % 4
    assert map_r2(x, y, folds) == pytest.approx(1.0, abs=1e-3)
    assert cross_fit(Data(x[:, None], y), folds).r2 < 0.3
    assert map_r2(x, generator.standard_normal((120, 10)), folds) < 0.05
