"""The notebooks of examples/ run from the first cell to the last; Gemma's does on a toy of its name in a hub cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pytest

import saeattr
from saeattr import bundle
from saeattr.model.hub import MODELS
from saeattr.saes.catalogue import pick_saes
from saeattr.sites import Site

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import make_random_checkpoint as checkpoint

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))
#: The tag of cells that only Colab can run, and how these begin: installing, logging in, the browser's download.
COLAB = "colab"
LEFT_TO_COLAB = {
    "first_result": [],
    "gemma_colab": ["%pip install", "from huggingface_hub import notebook_login", "from google.colab import files"],
}
NAMED = MODELS["gemma-2-2b-it"]
#: Five sites are on offer, of which the notebook asks for four.
OFFERED = [Site("resid_post", 2), Site("attn_z", 3), Site("mlp_out", 3), Site("resid_post", 4), Site("mlp_out", 5)]


def code_cells(path: Path, tag: str | None = None) -> list[str]:
    """The code cells of a notebook that carry the tag; without one, those that carry none."""
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    return ["".join(cell["source"]) for cell in cells if cell["metadata"].get("tags", []) == ([tag] if tag else [])]


def run_cells(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a notebook's untagged code cells in a folder; the names that they leave."""
    matplotlib.use("Agg")
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for number, source in enumerate(code_cells(path)):
        exec(compile(source, f"{path.name}, code cell {number}", "exec"), names)
    return names


def put_gemma_into_a_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled weights as google/gemma-2-2b-it, random Gemma Scope SAEs for five sites, and no network."""
    import huggingface_hub.constants as constants

    import saeattr.saes.loading as loading

    offered = {site: sae for site, sae in pick_saes(NAMED.releases, "16k").items() if site in OFFERED}
    checkpoint.copy_model(folder, NAMED.hub, bundle.MODEL_FOLDER)
    checkpoint.write_published(folder, offered.values(), NAMED.hub)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    # The bundled model has six layers, and SAEs are published for 26.
    monkeypatch.setattr(loading, "pick_saes", lambda *_: offered)


def test_the_first_notebook_runs_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = [path for path in NOTEBOOKS if path.stem == "first_result"]
    run_cells(path, tmp_path, monkeypatch)
    assert (tmp_path / "runs" / "notebook" / "validation.parquet").is_file()


def test_gemmas_notebook_runs_to_its_end_on_a_toy_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = [path for path in NOTEBOOKS if path.stem == "gemma_colab"]
    put_gemma_into_a_cache(tmp_path / "hub", monkeypatch)
    names = run_cells(path, tmp_path, monkeypatch)
    study, found = names["study"], names["found"].table
    assert study.record["model"]["name"] == "gemma-2-2b-it"
    assert study.choice[0].startswith("sites    4 of 5, chosen by the model alone: ")
    assert len(study.record["saes"]) == 4
    assert isinstance(study.validation("cities"), pd.DataFrame)
    first = found.iloc[0]
    kinds = {"resid_post": "res", "attn_z": "att", "mlp_out": "mlp"}
    page = f"{first['layer']}-gemmascope-{kinds[first['kind']]}-16k/{first['feature']}"
    assert first["url"] == f"https://www.neuronpedia.org/gemma-2-2b/{page}"
    assert saeattr.load_study(tmp_path / "runs" / "gemma").folder.root.joinpath("report.html").is_file()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_only_what_needs_colab_is_left_to_colab(path: Path) -> None:
    cells, begins = code_cells(path, COLAB), LEFT_TO_COLAB[path.stem]
    assert len(cells) == len(begins)
    assert all(cell.startswith(begin) for cell, begin in zip(cells, begins, strict=True))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_stores_no_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    assert {cell.get("execution_count") for cell in cells} == {None}
