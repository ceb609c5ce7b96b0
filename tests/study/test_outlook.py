"""The plan of a named model is arithmetic: no torch, no file of the hub, two seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from saeattr.errors import UserError
from saeattr.generation.group import CONTROL_SETS
from saeattr.model.hub import MODELS
from saeattr.runs.memory import parse_bytes
from saeattr.runs.metric import METRICS
from saeattr.settings import make_settings
from saeattr.study import outlook
from saeattr.study.outlook import CARD, HOST, Outlook, named_outlook

SLOW = ("torch", "transformers", "transformer_lens", "pandas", "numpy", "sae_lens")
#: Runs the command line, and then says what it imported.
TOLD = f"""
import sys
from saeattr.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print([name for name in {SLOW} if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))


def look(model: str, **settings: object) -> Outlook:
    found = named_outlook(make_settings({"model": model, **settings}))
    assert found is not None
    return found


def test_the_command_answers_offline_with_an_empty_cache_and_imports_nothing_slow(tmp_path: Path) -> None:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path), "COLUMNS": "200"}
    asked = [sys.executable, "-c", TOLD, "plan", "--model", "gemma-2-9b-it", "--vram", "24GiB"]
    done = subprocess.run(asked, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"
    for said in ("model 17.22 GiB", "a CUDA card", "attribution", "validation", "generation", "neg-log-prob", "ig"):
        assert said in done.stdout


@pytest.mark.parametrize("model", MODELS)
def test_every_named_model_is_known(model: str) -> None:
    found = look(model, vram="80GiB")
    assert found.device == CARD
    assert found.model_download == found.model.n_bytes >= 2 * found.model.parameters
    assert found.sae_download == sum(sae.n_bytes for sae in found.saes) > 0
    assert set(found.plan.stages) >= {"pairs", "selection", "attribution", "validation", "generation"}
    few, whole = zip(*found.methods.values(), strict=True)
    # With small models it is the SAEs that take most.
    assert all(one <= other for one, other in zip(few, whole, strict=True))
    assert look(model, device="cpu").device == HOST


def test_a_few_chosen_sites_take_as_much_as_the_largest_of_the_saes_at_most() -> None:
    # W_enc and W_dec, b_enc and threshold, b_dec: float32 at a site of the residual stream.
    residual = 4 * (2 * 2304 * 16384 + 2 * 16384 + 2304)
    assert look("gemma-2-2b-it", vram="15GiB", max_sites=4).chosen == (4, 4 * residual)
    n_chosen, n_bytes = look("gemma-2-2b-it", vram="15GiB").chosen or (0, 0)
    assert n_chosen * residual > n_bytes == parse_bytes("4GiB")


def test_all_sites_stream_where_a_few_fit_together() -> None:
    found = look("gemma-2-2b-it", vram="8GiB")
    assert len(found.saes) == 78
    assert found.streamed <= parse_bytes("8GiB")
    assert found.held is not None
    assert 0 < found.held < 78
    assert found.chosen is not None
    assert found.chosen[1] <= parse_bytes("4GiB")
    assert look("gemma-2-2b-it", vram="8GiB", layers="all").chosen is None
    # What is said to suffice does, and a little less is refused with the same amount.
    assert look("gemma-2-2b-it", vram=str(found.streamed)).plan.batch_size == 1
    with pytest.raises(UserError, match="the smallest that works here is"):
        look("gemma-2-2b-it", vram=str(found.streamed - 2**20))


def test_the_plan_follows_method_metric_and_sites() -> None:
    def peak(**settings: object) -> int:
        return look("gemma-2-2b-it", device="cuda", **settings).plan.peak

    plain = peak()
    assert peak(method="relp") < plain < peak(method="ig")
    assert plain < peak(metric="neg-log-prob")
    # The graph begins at the lowest site.
    assert peak(layers=[20]) < plain


def test_another_models_configuration_in_the_cache_is_opened_instead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "gemma2", "hidden_size": 64}), encoding="utf-8")
    monkeypatch.setattr(outlook, "cached_file", lambda repo, name: path if name == "config.json" else None)
    assert named_outlook(make_settings({"model": "gemma-2-2b-it"})) is None


def test_models_without_a_name_are_opened() -> None:
    assert named_outlook(make_settings({})) is None
    assert named_outlook(make_settings({"model": "some/model", "saes": "x"})) is None


def test_what_is_named_here_is_what_the_stages_have() -> None:
    whole = {name for name, metric in METRICS.items() if metric.whole_vocabulary}
    assert set(outlook.WHOLE_VOCABULARY) == whole
    assert outlook.CONTROL_SETS == CONTROL_SETS
