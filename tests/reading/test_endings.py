"""Where an ending sets in, on entropies that were made up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saeattr.reading.endings import entropy_onsets, rises, slope
from saeattr.tables import ENTROPY_ONSET


def rows(clean: list[float], corrupted: list[float], pair_id: str = "p", written: str = "clean") -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **{"group": "g", "pair_id": pair_id, "written": written, "read": read, "role": "item"},
                **{"number": at + 1, "from_end": len(values) - 1 - at, "entropy": value, "probability": 0.5},
            }
            for read, values in (("clean", clean), ("corrupted", corrupted))
            for at, value in enumerate(values)
        ]
    )


def test_what_the_text_does_in_both_runs_falls_out() -> None:
    text = [0.3, 2.0, 0.1, 1.0, 0.7, 1.4, 0.2, 0.6]
    ending = [0.0] * 5 + [0.5] * 3
    found = entropy_onsets(rows([a + b for a, b in zip(text, ending, strict=True)], text)).iloc[0]
    assert (found["onset"], found["from_end"], found["n_spans"]) == (6, 2, 8)
    assert found["step"] == pytest.approx(0.5)
    assert found["explained"] == pytest.approx(1)
    assert found["p_value"] == pytest.approx(2 / 56, abs=0.02)


def test_the_slopes_are_least_squares_fits_of_the_entropies() -> None:
    values = np.random.default_rng(0).normal(size=(2, 9))
    found = entropy_onsets(rows(values[0].tolist(), values[1].tolist())).iloc[0]
    fitted = [np.polyfit(np.arange(1, 10), one, 1)[0] for one in values]
    assert [found["rise_clean"], found["rise_corrupted"]] == pytest.approx(fitted)
    assert slope(np.array([1, 2]), np.array([1.0, 4.0])) == pytest.approx(3)


def test_equal_runs_have_no_onset_and_a_single_item_has_no_row() -> None:
    found = entropy_onsets(pd.concat([rows([0.1, 0.2], [0.1, 0.2]), rows([0.5], [0.4], "single")]))
    assert found["pair_id"].tolist() == ["p"]
    assert found[["onset", "from_end", "step", "explained"]].isna().all().all()
    assert found["p_value"].tolist() == [1]


def test_without_a_corrupted_run_there_is_nothing() -> None:
    alone = rows([0.1, 0.2], [0.1, 0.2])
    assert list(entropy_onsets(alone[alone["read"] == "clean"]).columns) == ENTROPY_ONSET.names
    assert entropy_onsets(alone[alone["read"] == "clean"]).empty


def test_spans_that_only_one_run_has_are_left_out() -> None:
    table = rows([0.1, 0.2, 0.9, 0.9], [0.1, 0.2, 0.3, 0.3])
    found = entropy_onsets(table[(table["read"] == "clean") | (table["number"] != 2)]).iloc[0]
    assert (found["n_spans"], found["onset"], found["from_end"]) == (3, 3, 1)


def test_rises_are_compared_pair_by_pair() -> None:
    """Differences vary far less than what they are differences of."""
    tables = [rows([0.0, at + 1.0], [0.0, float(at)], f"p{at}") for at in range(8)]
    found = rises(entropy_onsets(pd.concat(tables))).set_index("run")
    assert found.loc["difference", ["median", "low", "high"]].tolist() == pytest.approx([1, 1, 1])
    assert found.loc["clean", "high"] > 6
    few = rises(entropy_onsets(pd.concat(tables[:5]))).set_index("run")
    assert few.loc["difference", "median"] == pytest.approx(1)
    assert few[["low", "high"]].isna().all().all()
