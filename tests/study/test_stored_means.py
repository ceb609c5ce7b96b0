"""What a shard adds to its group's means is read as it was written, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saeattr.attribution.means import ShardSums
from saeattr.sites import Site
from saeattr.study.stored_means import read_sums_of, write_sums_of

SITES = (Site("resid_post", 2), Site("mlp_out", 11))


@pytest.fixture
def sums() -> ShardSums:
    drawn = torch.Generator().manual_seed(0)
    x = {site: torch.randn(5, dtype=torch.float64, generator=drawn) for site in SITES}
    return ShardSums(17, x, {SITES[1]: torch.rand(9, dtype=torch.float64, generator=drawn)})


def test_sums_are_read_as_they_were_written(sums: ShardSums, tmp_path: Path) -> None:
    write_sums_of(tmp_path / "parts" / "sums", sums)
    found = read_sums_of(tmp_path / "parts" / "sums")
    assert found is not None
    assert found.n_tokens == 17
    for ours, theirs in ((found.x, sums.x), (found.f, sums.f)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[site], theirs[site]) for site in ours)


def test_a_byte_that_is_changed_or_lost_anywhere_makes_them_unread(sums: ShardSums, tmp_path: Path) -> None:
    path = tmp_path / "sums"
    write_sums_of(path, sums)
    whole = path.read_bytes()
    # Numbers begin behind the header, whose length is in the first eight bytes.
    begin = 8 + int.from_bytes(whole[:8], "little")
    for place in range(begin, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read_sums_of(path) is None
    for length in (0, 4, begin, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read_sums_of(path) is None
    path.unlink()
    assert read_sums_of(path) is None
