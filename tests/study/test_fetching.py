"""Choose, then fetch: in a hub's cache only the chosen SAEs are opened, and no later run opens one to hash it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import saeattr
from saeattr import UserError, bundle, digests
from saeattr.model.hub import MODELS
from saeattr.model.loading import load_tokenizer
from saeattr.saes.catalogue import pick_saes
from saeattr.sites import parse_site
from saeattr.study.fetching import check_fetched, fetch_saes
from saeattr.study.folder import FORMAT, StudyFolder, read_record, write_record
from saeattr.study.selection import Choosing
from saeattr.study.stage import WHOLE
from saeattr.tables import LAYER_SCORES, sites_of

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import make_random_checkpoint as checkpoint

NAMED = MODELS["gemma-2-2b-it"]
ROWS = [
    {"clean": f"Capital of {one}:", "corrupted": f"Capital of {other}:", "answer": " Paris", "wrong": " Rome"}
    for one, other in (("France", "Peru"), ("Egypt", "Norway"))
]
ASKED: dict[str, Any] = {"model": "gemma-2-2b-it", "pairs": ROWS, "device": "cpu"}
ATTRIBUTED: dict[str, Any] = {**ASKED, "validate_top": 0, "figures": False}


class Opened:
    """Files of SAE weights that Python opened, by their folders."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.counts = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.counts and event == "open" and str(arguments[0]).endswith("params.npz"):
            self.files.append(str(Path(arguments[0]).parent))


OPENED = Opened()
# A hook cannot be taken away again; it counts only where a test asks for it.
sys.addaudithook(OPENED)


@pytest.fixture
def opened() -> Iterator[list[str]]:
    OPENED.files, OPENED.counts = [], True
    yield OPENED.files
    OPENED.counts = False


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache with the toy checkpoint, as deep as Gemma 2 2B so that all 78 SAEs are on offer, and none of them.

    What has been hashed once is remembered, however small and new the file.
    """
    import huggingface_hub.constants as constants

    folder = tmp_path / "hub"
    config = checkpoint.gemma_2("toy")
    config.num_hidden_layers = 26
    config.layer_types = ["sliding_attention", "full_attention"] * 13
    checkpoint.write_model(folder, NAMED.hub, config, load_tokenizer(bundle.MODEL_FOLDER), 2_000_000)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SAEATTR_CACHE", str(tmp_path / "remembered"))
    monkeypatch.setattr(digests, "REMEMBERED_FROM", 1)
    monkeypatch.setattr(digests, "SETTLED_AFTER", 0)
    return folder


def publish(cache: Path, sites: list[str]) -> set[str]:
    """Write the SAEs of some sites into the cache, and return their folders."""
    chosen = [sae for site, sae in pick_saes(NAMED.releases, "16k").items() if str(site) in sites]
    return {str(path.parent) for path in checkpoint.write_published(cache, chosen, NAMED.hub)}


def chosen_sites(study: saeattr.Study) -> list[str]:
    """From the stage's own table: those of an interrupted run are not joined yet."""
    table = Choosing.read(study.folder, LAYER_SCORES, WHOLE)
    return list(map(str, sites_of(table[table["chosen"]])))


def test_four_sites_open_four_files_and_the_next_run_opens_none(
    tmp_path: Path, cache: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "s"
    # None of the 78 is here: they are scored and chosen all the same, and the first chosen one is asked for.
    with pytest.raises(UserError, match="params.npz of google/gemma-scope-2b-pt-.* is not in the local cache"):
        saeattr.attribute(out=out, max_sites=4, **ATTRIBUTED)
    study = saeattr.load_study(out)
    assert study.choice[0].startswith("sites    4 of 78, chosen by the model alone: ")
    assert study.choice[0].endswith("0 MiB of it was here; limits: --max-sites 4, --download 4GiB)")
    assert study.choice[1].startswith("left out 74 sites, ")
    assert "beyond 4 sites (--max-sites)" in study.choice[1]
    assert "--layers all (streams every one)" in study.choice[2]
    assert opened == []
    assert "saes" not in study.record
    chosen = chosen_sites(study)
    assert len(chosen) == 4

    # What was interrupted goes on with the stored choice, no limit given.
    folders = publish(cache, chosen)
    opened.clear()
    study = saeattr.attribute(out=out, **ATTRIBUTED)
    assert set(opened) == folders
    assert len(folders) == 4
    assert set(study.record["saes"]) == set(chosen)
    assert set(map(str, sites_of(study.site_effects()))) == set(chosen)

    opened.clear()
    saeattr.attribute(out=out, **ATTRIBUTED)
    assert opened == []
    # Where there is more to do they are opened to read the weights, and not to hash them.
    monkeypatch.setattr(digests, "hashed", lambda path: pytest.fail(f"{path} was hashed"))
    saeattr.validate(out, top=1, figures=False, device="cpu")
    assert set(opened) <= folders


def test_what_may_be_downloaded_limits_the_choice_whatever_is_here(tmp_path: Path, cache: Path) -> None:
    found = saeattr.select(out=tmp_path / "s", download="25MiB", **ASKED)
    one = found.chosen[0].n_bytes
    assert len(found.chosen) == 25 * 2**20 // one == 3
    assert "25 MiB of SAEs from the hub (--download)" in found.reason
    assert "75 beyond 25 MiB of SAEs from the hub (--download)" in found.lines[1]
    publish(cache, [str(file.site) for file in found.chosen[:2]])
    again = saeattr.select(out=tmp_path / "t", download="25MiB", **ASKED)
    assert again.chosen == found.chosen
    assert again.here_bytes == 2 * one
    # Sites that are named are never limited: the first of them that is not here is asked for.
    with pytest.raises(UserError, match="is not in the local cache"):
        saeattr.attribute(out=tmp_path / "all", layers="all", download="25MiB", **ATTRIBUTED)
    assert not (tmp_path / "all").exists()


def test_an_sae_that_changed_since_it_was_fetched_is_refused(tmp_path: Path, saes: dict[Any, Any]) -> None:
    study = StudyFolder(tmp_path)
    write_record(study, {"format": FORMAT, "settings": {"saes": "bundled"}, "groups": []})
    files = [saes[parse_site(name)] for name in ("resid_post.2", "mlp_out.4")]
    fetch_saes(study, files)
    assert read_record(study)["saes"] == {str(file.site): digests.file_sha256(file.weights) for file in files}
    check_fetched(study, files)
    other = dataclasses.replace(files[0], held_sha256="0" * 64)
    # While nothing was completed with it, it may be replaced: it may have been found to be damaged.
    check_fetched(study, [other, files[1]])
    fetch_saes(study, [other, files[1]])
    assert read_record(study)["saes"]["resid_post.2"] == "0" * 64
    fetch_saes(study, files)
    (tmp_path / "attribution" / "cities").mkdir(parents=True)
    for refuses in (check_fetched, fetch_saes):
        with pytest.raises(UserError, match=r"other SAEs \(saes.resid_post.2 is '.*' there and '000"):
            refuses(study, [other, files[1]])
