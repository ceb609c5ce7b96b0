"""Whether two studies are the same but for the last digits of floats, which another batch size or thread changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from saeattr.digests import file_sha256
from saeattr.tables import LISTS, PAIRS, TABLES

#: What docs/reproducibility.md states for float32, as a share of a column's largest value; 1.5e-4 was measured at most.
TOLERANCE = 1e-3
#: Of the order of rows: it jumps where two whose floats are nearly equal change places.
OF_ORDER = ("rank", "spearman")


def check_close(ours: Path, theirs: Path) -> None:
    """Check that all groups' tables hold the same texts and whole numbers, and floats within the tolerance.

    Lists and pairs are the same bytes.

    Raises:
        AssertionError: something differs, and where.
    """
    for path in sorted(theirs.glob("*/**/*.parquet")):
        name = path.relative_to(theirs)
        if name.parts[0].endswith("lists") or path.stem in (PAIRS.name, LISTS.name):
            assert file_sha256(ours / name) == file_sha256(path), name
            continue
        one, other = (in_order(pd.read_parquet(study / name), path.stem) for study in (ours, theirs))
        assert len(one) == len(other), name
        for column in TABLES[path.stem].columns:
            a, b = one[column.name], other[column.name]
            if column.name in OF_ORDER:
                continue
            if column.type.startswith("float"):
                largest = np.nanmax(np.abs(b.to_numpy(float)), initial=0.0)
                np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * largest, err_msg=f"{name} {column.name}")
            else:
                assert a.astype(str).equals(b.astype(str)), (name, column.name)


def in_order(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows in the order of what names them: two whose floats are nearly equal may have changed places."""
    names = [one.name for one in TABLES[name].columns if not one.type.startswith("float") and one.name != "rank"]
    words = [" ".join(map(str, row)) for row in table[names].itertuples(index=False)]
    return table.iloc[sorted(range(len(words)), key=words.__getitem__)].reset_index(drop=True)
