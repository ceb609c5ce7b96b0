"""Limits of a study's choice: from settings to bytes, what the hub may be asked for, and the folder's name."""

from __future__ import annotations

from typing import Any

import pytest

from saeattr import UserError
from saeattr.model.hub import MODELS
from saeattr.runs.memory import parse_bytes
from saeattr.saes.loading import SaeFile, find_saes
from saeattr.selection.limits import amount
from saeattr.settings import StudySettings, make_settings
from saeattr.sites import Site
from saeattr.study.limits import asked_limits, may_leave_out, most_download, unusual_limits
from saeattr.study.prepare import default_folder, prepare


@pytest.fixture(scope="module")
def published() -> list[SaeFile]:
    """Gemma Scope's 78 canonical SAEs, known by their names and the model's widths alone."""
    known = MODELS["gemma-2-2b-it"]
    widths: Any = {"resid_post": known.d_model, "mlp_out": known.d_model, "attn_z": known.d_attn}
    return list(find_saes(",".join(known.releases), widths, width=known.width).values())


def test_four_gibibytes_from_the_hub_are_the_default_and_other_saes_have_no_limit(
    published: list[SaeFile], saes: dict[Site, SaeFile]
) -> None:
    assert asked_limits(StudySettings(), published).download_bytes == 4 * 2**30
    assert asked_limits(StudySettings(download="all"), published).download_bytes is None
    assert asked_limits(StudySettings(download="25GB"), published).download_bytes == 25 * 10**9
    assert asked_limits(StudySettings(), list(saes.values())).download_bytes is None
    assert asked_limits(StudySettings(download="1MiB"), list(saes.values())).download_bytes is None
    asked = asked_limits(StudySettings(max_sites=3, vram="8GiB"), published)
    assert asked.options == ["--max-sites 3", "--download 4GiB", "--vram 8GiB"]


def test_no_more_is_planned_to_be_downloaded_than_may_be(published: list[SaeFile]) -> None:
    all_of_them = sum(file.n_bytes for file in published)
    largest = max(file.n_bytes for file in published)
    assert all_of_them > 20 * 2**30
    assert most_download(StudySettings(), published) == 4 * 2**30
    assert most_download(StudySettings(max_sites=2), published) == 2 * largest
    assert most_download(StudySettings(download="all"), published) == all_of_them
    assert most_download(StudySettings(layers="all"), published) == all_of_them


def test_limits_leave_sites_out_where_the_offer_is_larger(published: list[SaeFile], saes: dict[Site, SaeFile]) -> None:
    assert may_leave_out(StudySettings(), published)
    assert not may_leave_out(StudySettings(), published[:3])
    assert not may_leave_out(StudySettings(download="all"), published)
    own = list(saes.values())
    assert not may_leave_out(StudySettings(max_sites=len(own)), own)
    assert may_leave_out(StudySettings(max_sites=len(own) - 1), own)
    assert may_leave_out(StudySettings(vram="900GB"), own)


def test_limits_are_part_of_the_default_folders_name_where_they_choose(published: list[SaeFile]) -> None:
    def folder(**settings: Any) -> str:
        return default_folder(prepare(make_settings({"device": "cpu", **settings}))).name

    assert folder(max_sites=4) == "bundled-max_sites=4"
    assert folder(vram="8 GiB", max_sites=4) == "bundled-max_sites=4-vram=8GiB"
    assert folder(vram="8GiB", sites=["mlp_out.1"]) == folder(sites=["mlp_out.1"])
    # Nothing of the bundled model's is downloaded.
    assert folder(download="1GiB") == "bundled"
    assert unusual_limits(StudySettings(download="25GiB"), published) == {"download": "25GiB"}
    assert unusual_limits(StudySettings(download="All"), published) == {"download": "all"}
    assert unusual_limits(StudySettings(download="4096MiB"), published) == {}
    assert unusual_limits(StudySettings(download="25GiB", layers="all"), published) == {}


@pytest.mark.parametrize("text", ["4GiB", "24GB", "1536MiB", "1GB", "77KiB", "12345"])
def test_an_amount_reads_back_to_the_same_bytes(text: str) -> None:
    assert amount(parse_bytes(text)) == text


def test_what_is_no_amount_is_refused() -> None:
    said = {
        "download": "--download cannot be 'plenty': write an amount such as 4GiB, or all",
        "vram": "'plenty' is not an amount of memory: write for example 8GiB",
    }
    for name, line in said.items():
        with pytest.raises(UserError, match=line):
            prepare(make_settings({name: "plenty", "device": "cpu"}))
