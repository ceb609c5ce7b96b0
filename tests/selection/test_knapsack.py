"""The knapsack against trying every set."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saeattr.selection.choose import Option, best_options

OPTIONS = st.lists(
    st.builds(
        Option,
        group=st.integers(0, 3),
        value=st.floats(0, 10, allow_subnormal=False),
        cost=st.integers(0, 12).map(lambda units: units * 150_994_944 + units % 3),
    ),
    max_size=8,
)


def allowed(chosen: list[Option], budget: int | None, most: int | None) -> bool:
    groups = [one.group for one in chosen]
    return (
        len(set(groups)) == len(groups)
        and (budget is None or sum(one.cost for one in chosen) <= budget)
        and (most is None or len(chosen) <= most)
    )


def best_by_trying(options: list[Option], budget: int | None, most: int | None) -> float:
    sets = (list(some) for size in range(len(options) + 1) for some in combinations(options, size))
    return max(sum(one.value for one in some) for some in sets if allowed(some, budget, most))


@settings(max_examples=150, deadline=None)
@given(OPTIONS, st.none() | st.integers(0, 40 * 150_994_944), st.none() | st.integers(0, 4))
def test_no_set_is_better(options: list[Option], budget: int | None, most: int | None) -> None:
    picked = best_options(options, budget, most)
    chosen = [options[at] for at in picked]
    assert allowed(chosen, budget, most)
    assert picked == sorted(set(picked))
    assert sum(one.value for one in chosen) == pytest.approx(best_by_trying(options, budget, most), rel=1e-6, abs=1e-9)


def test_the_budget_holds_to_the_byte() -> None:
    """One byte in ten thousand million is far below the solver's tolerance."""
    options = [Option(site, 1.0, 5_000_000_000) for site in range(2)]
    assert best_options(options, 10_000_000_000) == [0, 1]
    assert len(best_options(options, 9_999_999_999)) == 1


def test_values_near_zero_count() -> None:
    assert best_options([Option("a", 2.3e-308, 1), Option("b", 1e-320, 1)], None, 1) == [0]


def test_a_group_is_chosen_once_and_worthless_options_never() -> None:
    assert best_options([Option("a", 1.0, 1), Option("a", 2.0, 2), Option("b", 0.0, 0)]) == [1]
    assert best_options([], 5) == []
