"""Every table's schema, its frames, and the keys and addresses of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from saeattr import UserError
from saeattr.sites import Site
from saeattr.tables import (
    ATTRIBUTIONS,
    EXACT,
    TABLES,
    TYPES,
    Table,
    address,
    at_site,
    by_site,
    features_of,
    row_address,
    row_site,
    site_columns,
    sites_of,
)

ROWS = pd.DataFrame(
    {"layer": [3, 0, 3, 0], "kind": ["mlp_out", "attn_z", "mlp_out", "resid_post"], "feature": range(4)}
)
VALUES = {"text": "word", "list": [1, 2], "bool": True}


@pytest.fixture(params=TABLES.values(), ids=str)
def table(request: pytest.FixtureRequest) -> Table:
    return request.param


def filled(table: Table) -> pd.DataFrame:
    """Two rows with some value in every column, in the wrong order and beside a column of no meaning."""
    columns = {column.name: [VALUES.get(column.type, 1)] * 2 for column in reversed(table.columns)}
    return pd.DataFrame({"other": 1, **columns})


def test_every_table_says_what_each_of_its_columns_means(table: Table) -> None:
    assert TABLES[table.name] is table
    assert len(set(table.names)) == len(table.names)
    assert all(column.meaning and column.type in TYPES for column in table.columns)
    assert table.row


@pytest.mark.parametrize("n_rows", [0, 2])
def test_a_frame_has_the_columns_in_order_and_passes_the_check(table: Table, n_rows: int) -> None:
    frame = table.frame(filled(table).head(n_rows))
    assert list(frame.columns) == table.names
    assert len(frame) == n_rows
    for column in table.columns:
        if column.type not in ("text", "list"):
            assert str(frame[column.name].dtype) == column.type
    table.check(pa.Schema.from_pandas(frame), "here")


def test_an_empty_table_has_its_types_and_joins_with_rows(table: Table) -> None:
    assert table.empty().empty
    table.check(pa.Schema.from_pandas(table.empty()), "here")
    both = pd.concat([table.empty(), table.frame(filled(table))])
    assert list(both.columns) == table.names


def test_a_missing_column_is_named_in_one_line(table: Table) -> None:
    schema = pa.Schema.from_pandas(table.frame(filled(table)))
    for name in table.names:
        without = schema.remove(schema.get_field_index(name))
        with pytest.raises(UserError) as refusal:
            table.check(without, "there.parquet")
        assert str(refusal.value).startswith(f"there.parquet has no column {name!r}: ")
        assert "\n" not in str(refusal.value)
        table.check(without, "there.parquet", [other for other in table.names if other != name])


def test_a_column_of_another_type_is_named_in_one_line(table: Table) -> None:
    schema = pa.Schema.from_pandas(table.frame(filled(table)))
    for nth, column in enumerate(table.columns):
        wrong = pa.float64() if column.type in ("text", "list", "bool") or "int" in column.type else pa.string()
        with pytest.raises(UserError) as refusal:
            table.check(schema.set(nth, pa.field(column.name, wrong)), "there.parquet")
        said = f"there.parquet has the column {column.name!r} as {wrong}, and {column.type} belongs there: "
        assert str(refusal.value).startswith(said)
        assert "\n" not in str(refusal.value)


def test_wider_numbers_and_other_texts_of_another_writer_pass() -> None:
    schema = pa.Schema.from_pandas(EXACT.frame(filled(EXACT)))
    for name, kind in (("layer", pa.int64()), ("kind", pa.large_string()), ("exact", pa.float32())):
        schema = schema.set(schema.get_field_index(name), pa.field(name, kind))
    EXACT.check(schema, "here")
    # The same schema with one type that is neither wider nor another text.
    wrong = schema.set(schema.get_field_index("layer"), pa.field("layer", pa.float64()))
    with pytest.raises(UserError, match="column 'layer' as double"):
        EXACT.check(wrong, "here")


def test_a_row_without_a_column_is_no_frame() -> None:
    with pytest.raises(KeyError, match="effect"):
        ATTRIBUTIONS.frame(filled(ATTRIBUTIONS).drop(columns="effect"))


def test_rows_know_their_sites_and_features() -> None:
    mlp, attn, resid = Site("mlp_out", 3), Site("attn_z", 0), Site("resid_post", 0)
    assert sites_of(ROWS) == [mlp, attn, mlp, resid]
    assert features_of(ROWS) == [(mlp, 0), (attn, 1), (mlp, 2), (resid, 3)]
    assert by_site(features_of(ROWS)) == {mlp: [0, 2], attn: [1], resid: [3]}
    assert at_site(ROWS, mlp)["feature"].tolist() == [0, 2]


def test_one_row_has_an_address() -> None:
    row = ROWS.iloc[2].to_dict()
    assert row_site(row) == Site("mlp_out", 3)
    assert row_address(row) == address(Site("mlp_out", 3), 2) == "mlp_out.3/2"
    assert site_columns(Site("mlp_out", 3)) == {"layer": np.int16(3), "kind": "mlp_out"}
