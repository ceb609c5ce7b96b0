"""The same seed gives the same study: byte for byte where the same is computed, else within a stated tolerance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import saeattr
from saeattr.digests import file_sha256
from saeattr.study.results import Study
from saeattr.tables import LISTS, PAIRS, TABLES

SMALL: dict[str, Any] = {
    **{"lists": 3, "max_new_tokens": 20, "sites": ["resid_post.2", "mlp_out.3"], "validate_top": 2, "controls": 19},
    **{"validate_lists": 3, "curves": False, "figures": False, "device": "cpu"},
}
#: What docs/reproducibility.md states for float32, as a share of a column's largest value; 1.5e-4 was measured at most.
TOLERANCE = 1e-3
BOTH = ("cities", "rivers")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return saeattr.attribute(BOTH, out=tmp_path_factory.mktemp("whole") / "s", **SMALL)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def parts(study: Study) -> dict[str, str]:
    """The checksum of every group's own tables and lists."""
    root = study.folder.root
    return {str(path.relative_to(root)): file_sha256(path) for path in root.glob("*/**/*.parquet")}


def close(ours: Study, theirs: Study) -> None:
    """All parts hold the same texts and whole numbers, and floats within the tolerance; lists are the same bytes."""
    root = theirs.folder.root
    for path in sorted(root.glob("*/**/*.parquet")):
        name = path.relative_to(root)
        if name.parts[0].endswith("lists") or path.stem in (PAIRS.name, LISTS.name):
            assert file_sha256(ours.folder.root / name) == file_sha256(path), name
            continue
        one, other = (in_order(pd.read_parquet(study.folder.root / name), path.stem) for study in (ours, theirs))
        assert len(one) == len(other), name
        for column in TABLES[path.stem].columns:
            a, b = one[column.name], other[column.name]
            if column.type.startswith("float"):
                largest = np.nanmax(np.abs(b.to_numpy(float)), initial=0.0)
                np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * largest, err_msg=f"{name} {column.name}")
            elif column.name != "rank":
                assert a.astype(str).equals(b.astype(str)), (name, column.name)


def in_order(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows in the order of what names them: two whose floats are nearly equal may have changed places."""
    names = [one.name for one in TABLES[name].columns if not one.type.startswith("float") and one.name != "rank"]
    words = [" ".join(map(str, row)) for row in table[names].itertuples(index=False)]
    return table.iloc[sorted(range(len(words)), key=words.__getitem__)].reset_index(drop=True)


@pytest.mark.parametrize("groups", [BOTH, BOTH[::-1]], ids=["again", "the other order"])
def test_the_same_settings_give_the_same_bytes_in_any_order_of_topics(
    groups: tuple[str, str], whole: Study, tmp_path: Path
) -> None:
    assert parts(saeattr.attribute(groups, out=tmp_path / "s", **SMALL)) == parts(whole)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_another_batch_size_gives_the_same_lists_and_close_numbers(
    batch_size: int, whole: Study, tmp_path: Path
) -> None:
    close(saeattr.attribute(BOTH, out=tmp_path / "s", batch_size=batch_size, **SMALL), whole)


@pytest.mark.usefixtures("two_threads")
def test_two_threads_give_the_same_lists_and_close_numbers(whole: Study, tmp_path: Path) -> None:
    close(saeattr.attribute(BOTH, out=tmp_path / "s", **SMALL), whole)
