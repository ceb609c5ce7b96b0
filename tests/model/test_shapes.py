"""The shapes of named models: what the hub publishes, and what their configurations in configs/ say."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from saeattr.model.hub import MODELS
from saeattr.model.loading import widths_of
from saeattr.model.shapes import known_shapes, shape_of

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", MODELS)
def test_the_model_made_of_a_shape_has_the_published_number_of_parameters(name: str) -> None:
    known = known_shapes()[name]
    config = AutoConfig.for_model(**copy.deepcopy(dict(known.config)))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == known.parameters
    # The same shape is read off the configuration as transformers writes it.
    assert shape_of(config.to_dict()) == known.shape
    widths = widths_of(config)
    assert (widths["resid_post"], widths["attn_z"]) == (known.shape.d_model, known.shape.d_attn)
    assert (MODELS[name].d_model, MODELS[name].d_attn) == (known.shape.d_model, known.shape.d_attn)


@pytest.mark.parametrize("name", MODELS)
def test_the_configuration_file_of_a_named_model_tells_its_shape(name: str) -> None:
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    comments = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("#"))
    assert known_shapes()[name].line() in comments
