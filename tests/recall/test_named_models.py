"""The named models of the sources, offline: a toy of each one's shape goes through the whole recall command by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

import saeattr
from saeattr import bundle
from saeattr.behaviours.pair import Pair
from saeattr.cli import main
from saeattr.model.hub import MODELS
from saeattr.model.loading import find_model, load_tokenizer
from saeattr.recall.facts.batteries import named_battery
from saeattr.recall.facts.check import align_facts
from saeattr.saes.catalogue import PublishedSae, pick_saes
from saeattr.sites import Site
from saeattr.study.recall.parts import PARTS
from tests.test_configs import write_byte_tokenizer

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import make_random_checkpoint as checkpoint

CONFIGS = Path(__file__).parents[2] / "configs"
#: Layers, and heads of a query; releases with SAEs in the toy's layers.
SHAPES = {"gemma-2b": (4, 4), "gemma-3-12b-it": (6, 4), "gpt2": (4, 4)}
RELEASES = {**{name: MODELS[name].releases for name in SHAPES}, "gemma-3-12b-it": ("gemma-scope-2-12b-it-res-all",)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache with a toy of each model, and SAEs of the lower layers for which there are published ones."""
    folder = tmp_path_factory.mktemp("hub")
    for name in SHAPES:
        repo = MODELS[name].hub
        made = checkpoint.write_model(folder, repo, checkpoint.toy(name), load_tokenizer(bundle.MODEL_FOLDER), 200_000)
        make_layers_louder(made)
        checkpoint.write_published(folder, low_saes(name).values(), repo)
    own = checkpoint.snapshot(folder, MODELS["gpt2"].hub)
    for path in (*own.glob("tokenizer*"), *own.glob("*chat_template*"), *own.glob("special_tokens*")):
        path.unlink()
    write_byte_tokenizer(own)
    return folder


def make_layers_louder(folder: Path) -> None:
    """Else the layers add so little to the embedding that both prompts have the same answer."""
    for path in folder.glob("*.safetensors"):
        weights = load_file(path)
        louder = {
            name: 10 * value if value.ndim > 1 and "emb" not in name else value for name, value in weights.items()
        }
        save_file(louder, path, metadata={"format": "pt"})


def low_saes(name: str) -> dict[Site, PublishedSae]:
    return {site: sae for site, sae in pick_saes(RELEASES[name], MODELS[name].width).items() if site.layer < 3}


@pytest.fixture(params=SHAPES)
def name(request: pytest.FixtureRequest, cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model's name, under which the cache has its toy, and the SAEs of that."""
    import huggingface_hub.constants as constants

    import saeattr.saes.loading as loading

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    # The releases have SAEs of layers that a toy lacks.
    monkeypatch.setattr(loading, "pick_saes", lambda *_: low_saes(request.param))
    monkeypatch.setenv("COLUMNS", "200")
    return request.param


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Facts of two categories; a random model prefers the right answers of some."""
    rows = [row.as_cells() for row in named_battery("facts").rows if row.category in ("capitals", "languages")]
    (tmp_path / "facts.json").write_text(json.dumps(rows), encoding="utf-8")
    return tmp_path / "facts.json"


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["recall", *arguments, "--device", "cpu"])
    captured = capsys.readouterr()
    assert not stopped.value.code, captured.err
    return captured.out


def test_the_whole_command_runs_by_name(name: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, study = file.parent / "triage", file.parent / "study"
    assert f"rows can be asked of {name}, which knows" in call(["check", str(file), "--model", name], capsys)
    call(["triage", str(file), "--model", name, "--selection", "B", "--out", str(out), "--no-figures"], capsys)
    parts = ",".join(part.name for part in PARTS)
    call(["run", str(out), "--parts", parts, "--out", str(study), "--no-figures"], capsys)
    found = saeattr.load_study(study)
    assert found.record["model"]["name"] == name
    curves, (n_layers, n_heads) = found.recall("recall_curves"), SHAPES[name]
    stream = curves[(curves["component"] == "resid_pre") & (curves["direction"] == "noising")]
    assert set(stream["layer"]) == set(range(n_layers))
    assert set(curves.loc[curves["component"] == "z", "head"]) == set(range(n_heads))
    # Before layer 0 the entity is all that differs.
    bottom = stream[stream["layer"] == 0].groupby("place")["share"]
    assert bottom.min()["entity"] == pytest.approx(1, abs=1e-3)
    assert bottom.max()["final"] == pytest.approx(0, abs=1e-6)


def test_a_patch_in_every_layer_is_what_hooks_on_the_hugging_face_model_give(name: str, file: Path) -> None:
    """resid_pre at the entity, corrupted into clean; of a model that sees images the text layers are patched."""
    study = saeattr.run_recall(
        str(file), parts="localisation", model=name, selection="B", out=file.parent / "s", figures=False, device="cpu"
    )
    curves = study.recall("recall_curves")
    wanted = curves.query("component == 'resid_pre' and direction == 'noising' and place == 'entity'")
    tokenizer = load_tokenizer(find_model(name))
    rows = {(row.category, row.pair_id): row for row in named_battery("facts").rows}
    plain = AutoModelForCausalLM.from_pretrained(find_model(name), dtype=torch.float32, attn_implementation="eager")
    text = getattr(plain.base_model, "language_model", plain.base_model)
    layers = text.h if hasattr(text, "h") else text.layers
    for fact, own in wanted.groupby(["category", "pair_id"]):
        (found,), _ = align_facts(tokenizer, [rows[fact]])
        expected = hooked(plain.eval(), layers, found.pair, found.positions)
        assert own.sort_values("layer")["effect"].tolist() == pytest.approx(expected, abs=2e-4)


@torch.no_grad()
def hooked(plain: PreTrainedModel, layers: Any, pair: Pair, positions: Sequence[int]) -> list[float]:
    """The change of LD when each layer's input at the entity is that of the corrupted run."""
    clean, corrupted = (torch.tensor([ids]) for ids in (pair.clean_ids, pair.corrupted_ids))
    wanted, unwanted = pair.points[0].wanted[0], pair.points[0].unwanted[0]

    def difference(ids: torch.Tensor) -> float:
        logits = plain(ids).logits[0, -1]
        return float(logits[wanted] - logits[unwanted])

    effects, before = [], difference(clean)
    for layer in layers:
        seen = []
        with layer.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0].clone())):
            difference(corrupted)

        def put(_: Any, given: Any, other: torch.Tensor = seen[0]) -> Any:
            hidden = given[0].clone()
            hidden[:, list(positions)] = other[:, list(positions)]
            return (hidden, *given[1:])

        with layer.register_forward_pre_hook(put):
            effects.append(difference(clean) - before)
    return effects


def test_a_settings_file_gives_what_the_name_gives_and_options_override_it(
    name: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(CONFIGS / f"{name}.yaml")
    by_file = saeattr.triage(str(file), config=config, device="cpu")
    pd.testing.assert_frame_equal(by_file.facts, saeattr.triage(str(file), model=name, device="cpu").facts)
    printed = call(["check", str(file), "--config", config, "--model", "bundled"], capsys)
    assert "rows can be asked of bundled" in printed
