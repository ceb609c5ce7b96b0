"""Choosing SAEs: widths as alternatives, the budget, the sentence, refusals; the knapsack against trying every set."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saeattr.errors import UserError
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.saes.sae import ReluAutoencoder
from saeattr.selection.choose import Option, best_options, choose_layers
from saeattr.selection.limits import Limits
from saeattr.sites import Site, parse_site

SCORES = pd.DataFrame(
    {
        "layer": [0, 1, 1],
        "kind": ["resid_post", "attn_z", "resid_post"],
        "lens_gain": 0.0,
        "ablation_effect": [1.0, 0.5, 2.0],
        "gradient_effect": 0.0,
        "discount": 1.0,
        "score": [0.5, 0.3, 1.0],
    }
)


def offer(*sites: tuple[str, int]) -> list[SaeFile]:
    return [SaeFile(parse_site(name), Path(name), 128, width) for name, width in sites]


OFFER = offer(("resid_post.1", 512), ("resid_post.0", 512), ("attn_z.1", 512))
ONE = OFFER[0].n_bytes


def names(saes: list[SaeFile]) -> list[str]:
    return [f"{sae.site}/{sae.d_sae}" for sae in saes]


def test_the_bytes_are_those_of_the_open_sae(saes: dict[Site, SaeFile]) -> None:
    file = saes[Site("attn_z", 3)]
    sae = load_sae(file)
    assert isinstance(sae, ReluAutoencoder)
    assert file.n_bytes == sae.n_bytes


def test_the_best_sites_within_the_budget() -> None:
    choice = choose_layers(SCORES, OFFER, Limits(2 * ONE))
    assert names(choice.chosen) == ["resid_post.0/512", "resid_post.1/512"]
    assert choice.table["chosen"].tolist() == [True, False, True]
    assert choice.table["sae_bytes"].tolist() == [ONE] * 3
    assert choice.reason.startswith("resid_post.1, resid_post.0 hold 83% of the score of all 3 sites")
    assert "the best site left out (attn_z.1) scores 0.30" in choice.reason
    assert names(choose_layers(SCORES, OFFER, Limits(most=1)).chosen) == ["resid_post.1/512"]
    assert len(choose_layers(SCORES, OFFER, Limits()).chosen) == 3


def test_sites_come_before_widths_until_there_is_room_for_both() -> None:
    both = [*OFFER, *offer(("resid_post.1", 1024), ("resid_post.0", 1024))]
    wide = both[-1].n_bytes
    assert names(choose_layers(SCORES, both, Limits(wide)).chosen) == ["resid_post.1/1024"]
    assert names(choose_layers(SCORES, both, Limits(2 * ONE)).chosen) == ["resid_post.0/512", "resid_post.1/512"]
    assert names(choose_layers(SCORES, both, Limits(ONE + wide)).chosen) == ["resid_post.0/512", "resid_post.1/1024"]
    assert names(choose_layers(SCORES, both, Limits(ONE + wide), doubling=0).chosen) == [
        "resid_post.0/512",
        "resid_post.1/512",
    ]
    assert len(choose_layers(SCORES, both, Limits()).table) == 5


def test_refusals_say_what_would_do() -> None:
    with pytest.raises(UserError, match=r"too small: the smallest of those offered needs 1 MiB"):
        choose_layers(SCORES, OFFER, Limits(ONE - 1))
    with pytest.raises(UserError, match="at most 0 sites is none"):
        choose_layers(SCORES, OFFER, Limits(most=0))
    with pytest.raises(UserError, match="no site has a score above 0"):
        choose_layers(SCORES.assign(score=0.0), OFFER, Limits())


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
