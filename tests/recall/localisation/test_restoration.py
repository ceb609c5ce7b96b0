"""What each token restores: roles, shares and means by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saeattr.recall.localisation.restoration import by_role, examples, restored


def patch(pair_id: str, place: str, position: int, ld: float, p: float, **other: object) -> dict[str, object]:
    """A patched run that reads ``ld`` and ``p``, where LD goes from -1 (corrupted) to 3 (clean), P from 0.1 to 0.9."""
    own = {"category": "capitals", "pair_id": pair_id, "direction": "denoising", "component": "resid_pre", "layer": 0}
    runs = {"clean": 3.0, "corrupted": -1.0, "p_clean": 0.9, "p_corrupted": 0.1}
    read = {"place": place, "position": position, "effect": ld + 1.0, "p_patched": p, "head": -1}
    return {**own, **runs, **read, **other}


PAIRS = pd.DataFrame(
    {
        "group": "capitals",
        "pair_id": ["France 1", "Peru 1"],
        "clean_tokens": [["<bos>", "Fr", "ance", " is", " in", " of"], ["<bos>", "Peru", " is", " of"]],
    }
)
PATCHES = pd.DataFrame(
    [
        patch("France 1", "entity", 1, 0.0, 0.3),
        patch("France 1", "entity", 2, 2.0, 0.7),
        patch("France 1", "after", 3, -1.0, 0.1),
        patch("France 1", "after", 4, 1.0, 0.5),
        patch("France 1", "decision", 5, 3.0, 0.9),
        patch("Peru 1", "entity", 1, 3.0, 0.5),
        patch("Peru 1", "decision", 3, 1.0, 0.1, p_clean=0.105),
        # Roles together, the other direction, and what is not mapped.
        patch("France 1", "entity", -1, 3.0, 0.9),
        patch("France 1", "entity", 2, 9.0, 0.9, direction="noising"),
        patch("France 1", "entity", 2, 9.0, 0.9, component="resid_post"),
    ]
)


def test_each_token_has_its_role_its_text_and_its_shares() -> None:
    table = restored(PATCHES, PAIRS)
    rows = table[table["pair_id"] == "France 1"].set_index("position")
    assert rows["place"].tolist() == ["entity", "entity-last", "after", "after", "final"]
    assert rows["token"].tolist() == ["Fr", "ance", " is", " in", " of"]
    assert rows["ld_share"].tolist() == pytest.approx([0.25, 0.75, 0.0, 0.5, 1.0])
    assert rows["p_share"].tolist() == pytest.approx([0.25, 0.75, 0.0, 0.5, 1.0])
    assert (rows["swing"] == 4.0).all()
    # The only token of an entity is its last.
    assert table[table["pair_id"] == "Peru 1"]["place"].tolist() == ["entity-last", "final"]


def test_a_probability_that_hardly_rises_has_no_share() -> None:
    table = restored(PATCHES, PAIRS).set_index(["pair_id", "place"])
    assert np.isnan(table.loc[("Peru 1", "final"), "p_share"])  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert table["p_share"].notna().sum() == len(table) - 1


def test_means_are_of_facts_and_within_a_fact_of_its_tokens() -> None:
    means = by_role(restored(PATCHES, PAIRS)).set_index("place")
    assert dict(means["ld_share"]) == pytest.approx(
        {"after": 0.25, "entity": 0.25, "entity-last": 0.875, "final": 0.75}
    )
    assert dict(means["n_facts"]) == {"after": 1, "entity": 1, "entity-last": 2, "final": 2}
    assert means.loc["final", "n_p"] == 1


def test_examples_are_the_largest_the_median_and_the_smallest_swing() -> None:
    swings = {"a": 5.0, "b": 9.0, "c": 1.0, "d": 3.0}
    table = pd.DataFrame([{"category": "x", "pair_id": name, "swing": swing} for name, swing in swings.items()])
    assert examples(table) == [("x", "b"), ("x", "d"), ("x", "c")]
    assert examples(table.head(1)) == [("x", "a")]
    assert examples(table.head(0)) == []


def test_nothing_patched_is_an_empty_table() -> None:
    assert restored(PATCHES[PATCHES["direction"] == "noising"], PAIRS).empty
