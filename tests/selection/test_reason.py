"""What is said of a choice: which limit left out which sites, and how to take them."""

from __future__ import annotations

import pandas as pd
import pytest

from saeattr.saes.formats import float32_bytes
from saeattr.selection.limits import Limits, amount
from saeattr.selection.reason import choice_lines, left_out, reason

ONE = float32_bytes(128, 512)


def table(scores: list[float], chosen: list[int], sizes: list[int] | None = None) -> pd.DataFrame:
    """Residual sites in order of layers, with one SAE each."""
    return pd.DataFrame(
        {
            "layer": range(len(scores)),
            "kind": "resid_post",
            "ablation_effect": 1.0,
            "score": scores,
            "sae_bytes": sizes or [ONE] * len(scores),
            "chosen": [at in chosen for at in range(len(scores))],
        }
    )


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(most=2), "2 sites (--max-sites)"),
        (Limits(most=3, download_bytes=2 * ONE), "2 MiB of SAEs from the hub (--download)"),
        (Limits(budget_bytes=2 * ONE, vram_bytes=2**33, download_bytes=9 * ONE), "which --vram 8GiB leaves"),
        (Limits(most=2, download_bytes=2 * ONE), "(--max-sites) and 2 MiB of SAEs from the hub (--download)"),
    ],
)
def test_the_limit_that_bound_is_named_and_no_other(limits: Limits, said: str) -> None:
    sentence = reason(table([0.9, 0.8, 0.7, 0.1], [0, 1]), limits)
    within = sentence.split("the most that is possible within ")[1].split(";")[0]
    assert said in within
    assert within.count("--") == said.count("--")


def test_what_is_left_out_is_counted_by_limit_and_what_takes_it_is_said() -> None:
    # The third SAE is as large as all others together: it alone is more than may be downloaded.
    rows = table([0.9, 0.8, 0.7, 0.1, 0.0], [0, 1], [ONE, ONE, 4 * ONE, ONE, ONE])
    assert left_out(rows)["bytes"].tolist() == [4 * ONE, ONE, ONE]
    first, second, third = choice_lines(rows, Limits(most=2, download_bytes=3 * ONE), ONE)
    assert first == (
        "sites    2 of 5, chosen by the model alone: resid_post.0, resid_post.1 (SAEs of 2 MiB, 1 MiB of it was here; "
        f"limits: --max-sites 2, --download {amount(3 * ONE)})"
    )
    assert second == (
        "left out 3 sites, SAEs of 4 MiB: 2 beyond 2 sites (--max-sites), 1 beyond 2 MiB of SAEs from the hub "
        "(--download), 1 without a score"
    )
    assert third.strip() == (
        "to take them, in another study: --max-sites 5, --download 1GiB, --layers all (streams every one), --sites for "
        "those that you name"
    )


def test_where_all_are_taken_one_line_says_so() -> None:
    assert choice_lines(table([0.9, 0.8], [0, 1]), Limits(download_bytes=2**32), 0) == [
        "sites    all 2 that have an SAE (SAEs of 2 MiB, 0 MiB of it was here; limits: --download 4GiB)"
    ]
    assert choice_lines(table([0.9], [0]), Limits(), None) == ["sites    all 1 that have an SAE (SAEs of 1 MiB)"]
