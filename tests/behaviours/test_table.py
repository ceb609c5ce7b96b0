"""Any pairs come back from their table, also through a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saeattr import UserError
from saeattr.behaviours.pair import Pair, Point
from saeattr.behaviours.table import pairs_from_rows, pairs_to_rows
from saeattr.files import read_table, write_table
from saeattr.model.loading import LanguageModel
from saeattr.tables import PAIRS

TOKENS = st.integers(0, 4095)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def any_pair(draw: st.DrawFn) -> Pair:
    clean = tuple(draw(st.lists(TOKENS, min_size=1, max_size=8)))
    other = st.lists(TOKENS, min_size=len(clean), max_size=len(clean)).map(tuple).filter(lambda ids: ids != clean)
    some = st.lists(TOKENS, min_size=1, max_size=3).map(tuple)
    positions = sorted(draw(st.sets(st.integers(0, len(clean) - 1), min_size=1)))
    weights = st.floats(0.125, 8, width=64)
    return Pair(
        group=draw(TEXTS),
        pair_id=draw(TEXTS),
        title=draw(TEXTS),
        clean_ids=clean,
        corrupted_ids=draw(st.none() | other),
        points=tuple(Point(at, draw(some), draw(some), draw(weights)) for at in positions),
        roles=tuple(draw(st.lists(TEXTS, min_size=len(clean), max_size=len(clean)))),
    )


PAIR_LISTS = st.lists(any_pair(), max_size=4)
IN_A_FILE = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(pairs=PAIR_LISTS)
@settings(deadline=None)
def test_pairs_come_back_from_their_rows(lm: LanguageModel, pairs: list[Pair]) -> None:
    rows = pairs_to_rows(pairs, lm.tokenizer)
    assert list(rows.columns) == PAIRS.names
    assert pairs_from_rows(rows) == pairs


@IN_A_FILE
@given(pairs=PAIR_LISTS)
def test_pairs_come_back_from_a_file(lm: LanguageModel, tmp_path: Path, pairs: list[Pair]) -> None:
    path = tmp_path / "pairs.parquet"
    write_table(path, pairs_to_rows(pairs, lm.tokenizer))
    assert pairs_from_rows(read_table(path, PAIRS)) == pairs


def test_the_tokens_are_written_out(lm: LanguageModel, pairs: list[Pair]) -> None:
    rows = pairs_to_rows(pairs, lm.tokenizer)
    for row, pair in zip(rows.to_dict("records"), pairs, strict=True):
        assert "".join(row["clean_tokens"]) == lm.tokenizer.decode(list(pair.clean_ids))
        assert pair.corrupted_ids is not None
        assert "".join(row["corrupted_tokens"]) == lm.tokenizer.decode(list(pair.corrupted_ids))


def test_a_row_that_is_no_pair_is_refused(lm: LanguageModel, pairs: list[Pair]) -> None:
    rows = pairs_to_rows(pairs[:1], lm.tokenizer)
    rows["roles"] = [["bos"]]
    with pytest.raises(UserError, match=r"pair 000 of 'cities' has 1 roles for \d+ tokens"):
        pairs_from_rows(rows)
