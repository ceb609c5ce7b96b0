"""The same seed gives the same study: byte for byte where the same is computed, else within a stated tolerance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import saeattr
from saeattr.digests import file_sha256
from saeattr.study.results import Study
from tests.close import check_close

SMALL: dict[str, Any] = {
    **{"lists": 3, "max_new_tokens": 20, "sites": ["resid_post.2", "mlp_out.3"], "validate_top": 2, "controls": 19},
    **{"validate_lists": 3, "curves": False, "figures": False, "device": "cpu"},
}
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


@pytest.mark.parametrize("groups", [BOTH, BOTH[::-1]], ids=["again", "the other order"])
def test_the_same_settings_give_the_same_bytes_in_any_order_of_topics(
    groups: tuple[str, str], whole: Study, tmp_path: Path
) -> None:
    assert parts(saeattr.attribute(groups, out=tmp_path / "s", **SMALL)) == parts(whole)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_another_batch_size_gives_the_same_lists_and_close_numbers(
    batch_size: int, whole: Study, tmp_path: Path
) -> None:
    saeattr.attribute(BOTH, out=tmp_path / "s", batch_size=batch_size, **SMALL)
    check_close(tmp_path / "s", whole.folder.root)


@pytest.mark.usefixtures("two_threads")
def test_two_threads_give_the_same_lists_and_close_numbers(whole: Study, tmp_path: Path) -> None:
    saeattr.attribute(BOTH, out=tmp_path / "s", **SMALL)
    check_close(tmp_path / "s", whole.folder.root)
