"""Choosing SAEs: widths as alternatives, the budget, the sentence, and refusals."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from saeattr.errors import UserError
from saeattr.saes.loading import SaeFile, load_sae
from saeattr.selection.choose import choose_layers
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


ALL = offer(("resid_post.1", 512), ("resid_post.0", 512), ("attn_z.1", 512))
ONE = ALL[0].n_bytes


def names(saes: list[SaeFile]) -> list[str]:
    return [f"{sae.site}/{sae.d_sae}" for sae in saes]


def test_the_bytes_are_those_of_the_open_sae(saes: dict[Site, SaeFile]) -> None:
    file = saes[Site("attn_z", 3)]
    assert file.n_bytes == load_sae(file).n_bytes


def test_the_best_sites_within_the_budget() -> None:
    choice = choose_layers(SCORES, ALL, 2 * ONE)
    assert names(choice.chosen) == ["resid_post.0/512", "resid_post.1/512"]
    assert choice.table["chosen"].tolist() == [True, False, True]
    assert choice.table["sae_bytes"].tolist() == [ONE] * 3
    assert choice.reason.startswith("resid_post.1, resid_post.0 hold 83% of the score of all 3 sites")
    assert "the best site left out (attn_z.1) scores 0.30" in choice.reason
    assert names(choose_layers(SCORES, ALL, most=1).chosen) == ["resid_post.1/512"]
    assert len(choose_layers(SCORES, ALL).chosen) == 3


def test_sites_come_before_widths_until_there_is_room_for_both() -> None:
    both = [*ALL, *offer(("resid_post.1", 1024), ("resid_post.0", 1024))]
    wide = both[-1].n_bytes
    assert names(choose_layers(SCORES, both, wide).chosen) == ["resid_post.1/1024"]
    assert names(choose_layers(SCORES, both, 2 * ONE).chosen) == ["resid_post.0/512", "resid_post.1/512"]
    assert names(choose_layers(SCORES, both, ONE + wide).chosen) == ["resid_post.0/512", "resid_post.1/1024"]
    assert names(choose_layers(SCORES, both, ONE + wide, doubling=0).chosen) == ["resid_post.0/512", "resid_post.1/512"]
    assert len(choose_layers(SCORES, both).table) == 5


def test_refusals_say_what_would_do() -> None:
    with pytest.raises(UserError, match=r"too small: the smallest of those offered needs 1 MiB"):
        choose_layers(SCORES, ALL, ONE - 1)
    with pytest.raises(UserError, match="at most 0 sites is none"):
        choose_layers(SCORES, ALL, most=0)
    with pytest.raises(UserError, match="no site has a score above 0"):
        choose_layers(SCORES.assign(score=0.0), ALL)
