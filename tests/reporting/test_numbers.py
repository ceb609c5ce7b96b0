"""Numbers in words: what is not known is never printed as nan."""

from __future__ import annotations

import pytest

from saeattr.reporting.numbers import interval_text, median_text, pairs_text, q_text, share_text, span_text

NAN = float("nan")


def test_a_median_has_its_interval_or_says_why_not() -> None:
    row = {"exact_median": -1.234, "exact_low": -2.0, "exact_high": 0.5}
    assert median_text(row, "exact") == "-1.23 [-2.00, +0.50]"
    assert median_text({**row, "exact_low": NAN, "exact_high": NAN}, "exact") == "-1.23 [too few pairs]"


@pytest.mark.parametrize(
    "text", [interval_text(NAN, 1.0), interval_text(1.0, NAN), share_text(NAN), q_text(NAN), span_text([NAN])]
)
def test_nan_is_never_printed(text: str) -> None:
    assert "nan" not in text


def test_shares_and_q_values_have_the_digits_they_need() -> None:
    assert [share_text(share) for share in (0.1234, 0.0, 1.05)] == ["12.3%", "0.0%", "105.0%"]
    assert [q_text(q) for q in (0.0004, 0.0341, 1.0)] == ["<0.001", "0.034", "1.000"]


def test_pairs_are_counted_in_words() -> None:
    assert pairs_text([6, 6]) == "6 distinct pairs"
    assert pairs_text([1]) == "1 distinct pair"
    assert pairs_text([42, 21, 42]) == "21 to 42 distinct pairs"
    assert pairs_text([]) == "0 distinct pairs"
    assert span_text([0.9999, 1.0001], ".2f") == "1.00"
    assert span_text([0.97, 1.0, NAN], ".2f") == "0.97 to 1.00"
