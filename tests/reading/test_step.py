"""The best single step against every cut tried by hand, and its p-value against every order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeattr.reading.step import EXACT_UP_TO, best_step

NUMBERS = st.floats(-5, 5, allow_nan=False).map(lambda value: round(value, 2))


def left_over(values: np.ndarray, cut: int) -> float:
    """The sum of squares around the two parts' means."""
    return sum(float(((part - part.mean()) ** 2).sum()) for part in (values[:cut], values[cut:]))


@given(st.lists(NUMBERS, min_size=2, max_size=9))
def test_no_other_cut_leaves_less(values: list[float]) -> None:
    given_values = np.array(values)
    found = best_step(given_values)
    if np.ptp(given_values) == 0:
        assert found is None
        return
    assert found is not None
    cuts = {cut: left_over(given_values, cut) for cut in range(1, len(values))}
    whole = float(((given_values - given_values.mean()) ** 2).sum())
    assert cuts[found.at] == pytest.approx(min(cuts.values()), abs=1e-9)
    assert found.explained == pytest.approx(1 - min(cuts.values()) / whole, abs=1e-6)
    assert found.size == pytest.approx(given_values[found.at :].mean() - given_values[: found.at].mean())


@given(st.lists(NUMBERS, min_size=2, max_size=5))
def test_the_p_value_of_few_values_is_that_of_every_order(values: list[float]) -> None:
    given_values = np.array(values)
    found = best_step(given_values)
    if found is None:
        return
    least = min(left_over(given_values, cut) for cut in range(1, len(values)))
    orders = [np.array(order) for order in itertools.permutations(values)]
    lowest = [min(left_over(order, cut) for cut in range(1, len(values))) for order in orders]
    assert found.p_value == pytest.approx(np.mean([one <= least + 1e-6 for one in lowest]))


@pytest.mark.parametrize("at", [1, 4, 11])
def test_a_planted_step_is_found_where_it_stands(at: int) -> None:
    values = np.random.default_rng(3).normal(0, 0.1, 12)
    values[at:] += 2
    found = best_step(values)
    assert found is not None
    assert (found.at, round(found.size)) == (at, 2)
    assert found.explained > 0.9
    # A step between one value and all others can be told from chance only as far as one in n can.
    assert found.p_value <= (0.01 if at == 4 else 0.3)


def test_a_sequence_without_a_step_is_not_given_one_more_often_than_chance_does() -> None:
    generator = np.random.default_rng(5)
    found = [best_step(generator.normal(size=10)) for _ in range(300)]
    assert 0.02 < np.mean([one is not None and one.p_value <= 0.05 for one in found]) < 0.09


def test_nothing_is_said_of_one_value_or_of_equal_ones_and_the_same_input_gives_the_same_answer() -> None:
    assert best_step(np.array([1.0])) is None
    assert best_step(np.full(7, 0.3)) is None
    long = np.arange(EXACT_UP_TO + 4, dtype=float)
    assert best_step(long) == best_step(long)
