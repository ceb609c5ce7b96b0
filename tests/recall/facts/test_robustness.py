"""Spread over phrasings against planted variances, and two models side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import saeattr
from saeattr import UserError
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.facts.robustness import fact_spread, phrasing_means, share_between_facts, side_by_side
from saeattr.stats import median_interval
from tests.comparison.tuned import tuned_model


def table(swings: dict[str, list[float]]) -> pd.DataFrame:
    """A triage of one category: by fact its swing in each phrasing."""
    rows = [
        {
            **{"category": "c", "fact": fact, "phrasing": f"p{nth}", "clean_prompt": f"{fact} {nth}"},
            **{"corrupt_prompt": f"x {nth}", "swing": swing, "known": swing > 0, "p_right_clean": 0.5, "rank_clean": 1},
        }
        for fact, values in swings.items()
        for nth, swing in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(row=range(1, len(rows) + 1))


def test_spread_and_phrasings_by_hand() -> None:
    made = table({"a": [4.0, 6.0, -1.0], "b": [2.0], "c": [10.0, 12.0]})
    spread = fact_spread(made).set_index("fact")
    assert list(spread.index) == ["c", "a", "b"]
    a = spread.loc["a"]
    assert (a["n_phrasings"], a["n_known"], a["swing_mean"]) == (3, 2, 3.0)
    assert (a["swing_min"], a["swing_max"], a["weakest"]) == (-1.0, 6.0, "p2")
    assert a["swing_sd"] == pytest.approx(np.std([4, 6, -1], ddof=1))
    assert np.isnan(spread.loc["b", "swing_sd"])
    means = phrasing_means(made).set_index("phrasing")
    assert means["n_facts"].to_dict() == {"p0": 3, "p1": 2, "p2": 1}
    assert means["swing_mean"].to_dict() == pytest.approx({"p0": 16 / 3, "p1": 9.0, "p2": -1.0})
    assert means["n_known"].to_dict() == {"p0": 3, "p1": 2, "p2": 0}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_the_share_of_variance_between_facts_is_the_planted_one(share: float) -> None:
    draw = np.random.default_rng(1)
    between = np.sqrt(share) * draw.standard_normal(3000)
    found = {
        f"f{n}": list(between[n] + np.sqrt(1 - share) * draw.standard_normal(2 + n % 3)) for n in range(len(between))
    }
    assert share_between_facts(table(found)) == pytest.approx(share, abs=0.04)


def test_the_share_needs_two_facts_in_several_phrasings() -> None:
    assert np.isnan(share_between_facts(table({"a": [1.0, 2.0], "b": [3.0]})))
    assert share_between_facts(table({"a": [1.0, 1.0], "b": [3.0, 3.0]})) == 1.0


def test_two_triages_are_joined_by_row_and_a_fact_counts_once_however_many_phrasings_it_has() -> None:
    facts = {f"f{n}": [float(n), n + 1.0] for n in range(8)}
    a, b = table(facts), table({name: [value + n for value in facts[name]] for n, name in enumerate(facts)})
    found = side_by_side(a, b[b["fact"] != "f0"].iloc[::-1], ("base", "tuned"))
    assert (len(found.rows), found.only_a, found.only_b) == (14, 2, 0)
    assert found.rows["change"].abs().is_monotonic_decreasing
    changes = np.arange(1.0, 8.0)
    low, high = median_interval(changes[None])
    assert found.change == pytest.approx((np.median(changes), low[0], high[0]))


def test_triages_without_a_row_in_common_are_refused() -> None:
    with pytest.raises(UserError, match="the two triages have no fact in common"):
        side_by_side(table({"a": [1.0]}), table({"b": [1.0]}))


def test_a_base_model_and_a_tuned_one_stand_side_by_side(tmp_path: Path) -> None:
    rows = [row.as_cells() for row in named_battery("facts").rows[:60]]
    a = saeattr.triage(rows, out=tmp_path / "a", device="cpu", figures=False)
    b = saeattr.triage(rows, out=tmp_path / "b", device="cpu", figures=False, model=str(tuned_model()))
    found = saeattr.triage_beside(tmp_path / "a", tmp_path / "b", out=tmp_path / "both")
    assert (found.a, found.b) == ("bundled", "model")
    assert len(found.rows) == 60
    ours = {row["clean_prompt"]: row["swing"] for row in a.facts.to_dict("records")}
    theirs = {row["clean_prompt"]: row["swing"] for row in b.facts.to_dict("records")}
    for row in found.rows.to_dict("records"):
        assert row["change"] == pytest.approx(theirs[row["clean_prompt"]] - ours[row["clean_prompt"]])
    assert found.rows["change"].abs().max() > 1e-3
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "both" / "triage_beside.parquet"), found.rows)
    assert (tmp_path / "both" / "triage-beside.png").exists()
    # The same model beside itself is told apart by its folder, and nothing changes.
    same = saeattr.triage_beside(a, a)
    assert same.a == same.b == f"bundled ({tmp_path / 'a'})"
    assert (same.rows["change"] == 0).all()


def test_a_folder_without_a_triage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no triage: make one with saeattr recall triage --out"):
        saeattr.triage_beside(tmp_path, tmp_path)
