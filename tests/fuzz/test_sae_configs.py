"""Configurations of SAEs with anything in any field, and npz files of any shape: an SAE, or one line."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from saeattr.saes.catalogue import PublishedSae
from saeattr.saes.formats import SaeFile, _of_llama_scope, config_file, npz_file
from saeattr.sites import Site
from tests.fuzz.cases import fuzz, unless_refused
from tests.fuzz.values import LEAVES, TEXTS, torn, trees

NEW = {
    "d_in": 8,
    "d_sae": 16,
    "architecture": "jumprelu",
    "normalize_activations": "none",
    "apply_b_dec_to_input": False,
    "metadata": {"hook_name": "blocks.3.hook_resid_post", "model_from_pretrained_kwargs": {}},
}
OLD = {"d_in": 8, "d_sae": 16, "hook_point": "blocks.3.hook_resid_pre", "activation_fn_str": "relu"}
KEYS = ["architecture", "activation_fn", "normalize_activations", "hook_name", "hook_head_index", "metadata"]
KEYS += ["model_from_pretrained_kwargs", "apply_b_dec_to_input", "threshold", "d_in", "d_sae"]
CHANGED = st.dictionaries(st.sampled_from(KEYS) | TEXTS, LEAVES | trees(), max_size=4)
CONFIGS = st.builds(lambda base, more: {**base, **more}, st.sampled_from([NEW, OLD]), CHANGED)
CONFIGS |= st.builds(lambda more: {**NEW, "metadata": {**NEW["metadata"], **more}}, CHANGED)


def check(file: SaeFile) -> None:
    assert file.d_in >= 0
    assert file.d_sae >= 0
    assert isinstance(file.subtract_b_dec, bool)
    assert file.site.layer >= 0
    assert math.isfinite(file.scale)


@fuzz(torn(CONFIGS.map(json.dumps)) | trees().map(json.dumps) | TEXTS, times=4)
def test_any_configuration(tmp_path: Path, text: str):
    (tmp_path / "cfg.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    file = unless_refused(lambda: config_file(tmp_path / "cfg.json"))
    if file is not None:
        check(file)


SCOPE = {"d_model": 8, "d_sae": 16, "dataset_average_activation_norm": {"in": 2.0}, "jump_relu_threshold": 0.5}


@fuzz(
    st.builds(
        lambda more: {**SCOPE, **more}, st.dictionaries(st.sampled_from(list(SCOPE)), LEAVES | trees(), max_size=3)
    )
)
def test_any_hyperparameters(config: dict[str, Any]):
    sae = PublishedSae("r", "id", Site("resid_post", 3), "16k", None, None, "org/name", "path", "llama_scope", "m")
    file = unless_refused(lambda: _of_llama_scope(config, Path("f"), sae))
    if file is not None:
        check(file)


ARRAYS = st.dictionaries(
    st.sampled_from(["W_enc", "W_dec", "b_enc", "b_dec", "threshold", "x"]) | st.text("ab/._", max_size=6),
    st.sampled_from([(), (0,), (4,), (4, 8), (8, 4), (0, 4), (2, 2, 2)]),
    max_size=5,
)


@fuzz(ARRAYS, st.sampled_from(["float32", "float64", "int8", "U3", "O"]), st.integers(0, 2000), st.binary(max_size=8))
def test_any_npz(tmp_path: Path, arrays: dict[str, tuple[int, ...]], dtype: str, at: int, damage: bytes):
    folder = tmp_path / "gemma-scope-2b-pt-res" / "layer_20" / "width_16k" / "average_l0_71"
    folder.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    np.savez(file, **{name: np.zeros(shape, dtype) for name, shape in arrays.items() if name != "file"})  # pyright: ignore[reportArgumentType]
    whole = file.getvalue()
    (folder / "params.npz").write_bytes(whole[:at] + damage + whole[at + len(damage) :])
    found = unless_refused(lambda: npz_file(folder / "params.npz"))
    if found is not None:
        check(found)
