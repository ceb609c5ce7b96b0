"""What is rehearsed on meta tensors is what real tensors take, and what was stored is what is rehearsed."""

from __future__ import annotations

import json

import pytest

from saeattr import bundle
from saeattr.attribution.methods import METHODS
from saeattr.model.costs import Costs
from saeattr.model.fitted import fitted_costs
from saeattr.model.loading import LanguageModel
from saeattr.model.memory import LiveBytes, meta_model
from saeattr.model.shapes import shape_of
from saeattr.model.unembed import VOCABULARY_SLICE
from saeattr.runs.batch import run_batch
from saeattr.runs.metric import METRICS
from saeattr.runs.question import Question
from saeattr.runs.rehearsal import Asked, rehearse_runs, rehearsed_pairs
from saeattr.sites import KINDS, Site

EVERY = sorted(Site(kind, layer) for layer in range(6) for kind in KINDS)
LENGTH = 40


@pytest.fixture(scope="module")
def meta() -> LanguageModel:
    return meta_model(bundle.MODEL_FOLDER)


def rehearsed(meta: LanguageModel, sites: list[Site], method: str, metric: str = "logit-difference") -> Costs:
    one = METHODS[method]
    slope = one.slope if method == "ig" else None
    return rehearse_runs(meta, Asked(sites, Question(METRICS[metric], method=method), one.rules, slope), LENGTH)


def test_the_weights_are_those_of_the_file(meta: LanguageModel) -> None:
    stored = (bundle.MODEL_FOLDER / "model.safetensors").stat().st_size
    assert rehearsed(meta, EVERY[:1], "attribution").weights == pytest.approx(stored, rel=0.01)


@pytest.mark.parametrize("method", ["attribution", "relp"])
def test_the_rehearsed_peak_is_that_of_real_tensors(meta: LanguageModel, lm: LanguageModel, method: str) -> None:
    found, batch = rehearsed(meta, EVERY, method), 7
    with LiveBytes(lm.hf.parameters()) as live:
        runs = run_batch(lm, rehearsed_pairs(batch, LENGTH), EVERY, Question(), rules=METHODS[method].rules)
        kept = live.now
    assert runs.clean.g
    assert found.captured.of(batch) == pytest.approx(kept, rel=0.02)
    assert found.capture.of(batch) == pytest.approx(live.peak, rel=0.05)


def test_steps_to_the_base_take_what_they_take(meta: LanguageModel, lm: LanguageModel) -> None:
    site, batch = EVERY[0], 3
    found = rehearsed(meta, [site], "ig")
    runs = run_batch(lm, rehearsed_pairs(batch, LENGTH), [site], Question(method="ig", ig_steps=5))
    base = runs.clean.x[site].float()
    with LiveBytes([*lm.hf.parameters(), *runs.clean.calls.inputs, base]) as live:
        METHODS["ig"].slope(runs, site, base, 12)
    # Four points of the three pairs at a time.
    assert found.slope.of(12) == pytest.approx(live.peak, rel=0.1)


def test_a_metric_of_the_whole_vocabulary_takes_more_to_read(meta: LanguageModel) -> None:
    few, whole = (rehearsed(meta, EVERY[:1], "attribution", name).read for name in ("logit-difference", "neg-log-prob"))
    # A float32 copy of a slice of the unembedding, at least.
    vocabulary, width = meta.hf.config.get_text_config().vocab_size, meta.hf.config.get_text_config().hidden_size
    assert whole.of(1) - few.of(1) >= 4 * width * min(vocabulary, VOCABULARY_SLICE)


@pytest.mark.parametrize("method", ["attribution", "relp", "ig"])
@pytest.mark.parametrize("sites", [EVERY, [Site("mlp_out", 4)], [Site("attn_z", 1), Site("resid_post", 3)]])
def test_stored_costs_are_those_of_a_rehearsal(meta: LanguageModel, method: str, sites: list[Site]) -> None:
    shape = shape_of(json.loads((bundle.MODEL_FOLDER / "config.json").read_text(encoding="utf-8")))
    for metric, whole in (("logit-difference", False), ("neg-log-prob", True)):
        stored = fitted_costs(shape, "float32", sites, LENGTH, method, whole)
        assert stored is not None
        found = rehearsed(meta, sites, method, metric)
        assert stored.weights == found.weights
        for name in ("captured", "capture", "recorded", "record", "recompute", "slope", "read", "entropy"):
            one, other = getattr(stored, name).of(8), getattr(found, name).of(8)
            assert one == pytest.approx(other, rel=0.15, abs=2**16), name


def test_a_shape_that_was_not_rehearsed_has_no_stored_costs() -> None:
    shape = shape_of(json.loads((bundle.MODEL_FOLDER / "config.json").read_text(encoding="utf-8")))
    other = type(shape)(**{**vars(shape), "d_mlp": shape.d_mlp + 1})
    assert fitted_costs(other, "float32", EVERY, LENGTH, "attribution", False) is None
