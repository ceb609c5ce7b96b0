"""Write saeattr/model/costs.json: what runs of the known shapes take in memory, rehearsed on meta tensors.

    python scripts/docs/costs.py [--only NAME]

Of every shape in saeattr/model/shapes.yaml, and the bundled model's, a few layers are rehearsed at a few lengths;
polynomials go through what was counted. It takes ten minutes on one core; run it when the model's runs, the metrics or
the shapes change.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig, PreTrainedConfig

from saeattr import bundle
from saeattr.attribution.methods import METHODS as ATTRIBUTION_METHODS
from saeattr.behaviours.lists.rehearsal import rehearse_writing
from saeattr.model.costs import Cost
from saeattr.model.fitted import COSTS, stored_costs
from saeattr.model.loading import LanguageModel, load_tokenizer
from saeattr.model.memory import meta_of
from saeattr.model.shapes import known_shapes, shape_of
from saeattr.runs.metric import METRICS
from saeattr.runs.question import Question
from saeattr.runs.rehearsal import Asked, rehearse_capture, rehearse_copies, rehearse_reading, rehearse_slope
from saeattr.sites import Site

#: Layers of the models rehearsed (from four on each more takes the same) and the lowest site's; lengths. As many as
#: there are coefficients.
RUNS, LENGTHS = ((4, 0), (6, 0), (6, 2)), (32, 64, 128)
DTYPES = ("float32", "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="one name; the other shapes stay as they are stored")
    only = parser.parse_args().only
    shapes = [] if only is None else stored_costs()["shapes"]
    done = {json.dumps(one["shape"], sort_keys=True) for one in shapes} if only is None else set()
    for name, config in configs():
        if only not in (None, name):
            continue
        shape = asdict(shape_of(config))
        key = json.dumps(shape, sort_keys=True)
        if key in done:
            continue
        done.add(key)
        shapes = [one for one in shapes if one["shape"] != shape]
        print(name, flush=True)
        shapes.append({"shape": shape, "fits": {dtype: fit(config, dtype) for dtype in DTYPES}})
    COSTS.write_text(json.dumps({"shapes": shapes}, indent=None).replace('{"shape":', '\n{"shape":') + "\n", "utf-8")


def configs() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "bundled", json.loads((bundle.MODEL_FOLDER / "config.json").read_text(encoding="utf-8"))
    for name, known in known_shapes().items():
        yield name, known.config


def fit(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Coefficients by quantity (``saeattr.model.fitted.Fit``), and the bytes of the weights."""
    found: dict[str, list[Cost]] = {}
    rows = []
    reading = of_reading(few_layers(config, RUNS[0][0], dtype))
    for n_layers, lowest in RUNS:
        lm = few_layers(config, n_layers, dtype)
        for length in LENGTHS:
            rows.append([n * length**power for n in (1, n_layers - lowest, lowest) for power in range(3)])
            for name, cost in {**of_runs(lm, lowest, length), **reading}.items():
                found.setdefault(name, []).append(cost)
    weights = sum(p.numel() * p.element_size() for p in few_layers(config, None, dtype).hf.parameters())
    return {"weights": weights, **{name: solve(np.array(rows, float), costs) for name, costs in found.items()}}


def of_reading(lm: LanguageModel) -> dict[str, Cost]:
    """What does not depend on layers and lengths."""
    read, tokens = rehearse_reading(lm, Question(METRICS["logit-difference"]))
    return {"read": read, "entropy": tokens, "read_whole": rehearse_reading(lm, Question(METRICS["neg-log-prob"]))[0]}


def of_runs(lm: LanguageModel, lowest: int, length: int) -> dict[str, Cost]:
    """All else, with one site captured."""
    found: dict[str, Cost] = {}
    for method in ("relp", "attribution", "ig"):
        one = ATTRIBUTION_METHODS[method]
        asked = Asked([Site("resid_post", lowest)], Question(method=method), one.rules, one.slope)
        if method == "ig":
            found["slope"] = rehearse_slope(lm, asked, length)
        else:
            found["captured"], found[f"capture_{method}"] = rehearse_capture(lm, asked, length, gradients=True)
    found["recorded"], found["record"] = rehearse_capture(lm, asked, length, gradients=False)
    found["recompute"] = rehearse_copies(lm, asked, length)
    found["sample"], found["cache"] = rehearse_writing(lm, length)
    return found


def few_layers(config: Mapping[str, Any], n_layers: int | None, dtype: str) -> LanguageModel:
    """The model on meta tensors, cut to its first layers; with None all of them."""
    whole: PreTrainedConfig = AutoConfig.for_model(**copy.deepcopy(dict(config)))
    text = whole.get_text_config()
    if n_layers is not None:
        text.num_hidden_layers = n_layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:n_layers]
        if getattr(whole, "vision_config", None) is not None:
            whole.vision_config.num_hidden_layers = 1
    return meta_of(whole, load_tokenizer(bundle.MODEL_FOLDER), Path("rehearsed"), dtype)


def solve(rows: np.ndarray, costs: list[Cost]) -> list[list[list[float]]]:
    """The coefficients of what is fixed and of what each row takes."""
    parts = []
    for values in ([cost.fixed for cost in costs], [cost.each for cost in costs]):
        solved = np.linalg.solve(rows, np.array(values, float)).reshape(3, 3)
        parts.append([[round(float(value), 4) for value in row] for row in solved])
    return parts


if __name__ == "__main__":
    main()
