"""What a table is: columns with type, meaning and unit; and the keys and addresses of rows.

Writers take their columns from here (``Table.frame``), readers check against it (``Table.check``), and
docs/study-folder.md is printed from it (``scripts/docs/study_folder.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from saeattr.errors import UserError
from saeattr.sites import Site, parse_kind

#: What tells rows apart.
GROUP = "group"
PAIR = ["group", "pair_id"]
SITE = ["layer", "kind"]
FEATURE = ["layer", "kind", "feature"]
GROUP_SITE = ["group", *SITE]
GROUP_FEATURE = ["group", *FEATURE]

#: A feature by its site and index.
Feature = tuple[Site, int]

TYPES = {
    "int16": pa.types.is_integer,
    "int32": pa.types.is_integer,
    "int64": pa.types.is_integer,
    "float32": pa.types.is_floating,
    "float64": pa.types.is_floating,
    "bool": pa.types.is_boolean,
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "list": lambda kind: pa.types.is_list(kind) or pa.types.is_large_list(kind),
}


@dataclass(frozen=True)
class Column:
    """A column: ``type`` is a key of ``TYPES``; ``unit`` is blank for counts, names and shares."""

    name: str
    type: str
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the study folder.

    Attributes:
        name: of its file, without ``.parquet``.
        row: what one row stands for.
        columns: in their order.
        note: what a reader should know of all of it.
    """

    name: str
    row: str
    columns: tuple[Column, ...]
    note: str = ""

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def empty(self) -> pd.DataFrame:
        return self.frame(pd.DataFrame())

    def frame(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with its columns in order, each of its type; columns of no meaning here are left out."""
        if table.empty:
            # As objects: without values pandas would take texts for numbers, and readers refuse them.
            table = pd.DataFrame({name: pd.Series([], dtype="object") for name in self.names})
        kinds = {column.name: column.type for column in self.columns if column.type not in ("text", "list")}
        return table[self.names].astype(kinds).reset_index(drop=True)

    def check(self, schema: pa.Schema, where: str, columns: Sequence[str] | None = None) -> None:
        """Refuse a file that is not this table.

        Args:
            columns: those that are wanted; None for all.

        Raises:
            UserError: a column is missing or of another type.
        """
        for column in self.columns:
            if columns is not None and column.name not in columns:
                continue
            at = schema.get_field_index(column.name)
            if at < 0:
                raise UserError(
                    f"{where} has no column {column.name!r}: it is of another version of saeattr, or no table of its; "
                    "make it again"
                )
            kind = schema.field(at).type
            # A column without any value has no type of its own.
            if not TYPES[column.type](kind) and not pa.types.is_null(kind):
                raise UserError(
                    f"{where} has the column {column.name!r} as {kind}, and {column.type} belongs there: it is of "
                    "another version of saeattr, or no table of its; make it again"
                )


def sites_of(table: pd.DataFrame) -> list[Site]:
    """The site of each row."""
    return [Site(parse_kind(kind), int(layer)) for layer, kind in table[SITE].itertuples(index=False, name=None)]


def features_of(table: pd.DataFrame) -> list[Feature]:
    """Site and feature of each row."""
    return [(site, int(feature)) for site, feature in zip(sites_of(table), table["feature"], strict=True)]


def at_site(table: pd.DataFrame, site: Site) -> pd.DataFrame:
    """The rows of one site."""
    return table[(table["layer"] == site.layer) & (table["kind"] == site.kind)]


def by_site(features: Sequence[Feature]) -> dict[Site, list[int]]:
    """The features of each site, in their order."""
    found: dict[Site, list[int]] = {}
    for site, feature in features:
        found.setdefault(site, []).append(feature)
    return found


def site_columns(site: Site) -> dict[str, Any]:
    """layer and kind of one site, for a table's rows."""
    return {"layer": np.int16(site.layer), "kind": site.kind}


def address(site: Site, feature: int) -> str:
    """``resid_post.4/423``."""
    return f"{site}/{feature}"


def row_site(row: Mapping[Any, Any]) -> Site:
    """The site of one row, given as a mapping."""
    return Site(parse_kind(str(row["kind"])), int(row["layer"]))


def row_address(row: Mapping[Any, Any]) -> str:
    """The address of the feature of one row, given as a mapping."""
    return address(row_site(row), int(row["feature"]))
