"""Answers of the feature API: what is read, what is refused, what is left out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeattr.neuronpedia.answers import EXAMPLES, NeuronpediaError, feature_json, feature_key, parse_feature
from saeattr.neuronpedia.source import Source
from tests.neuronpedia.fake_site import FOLDER_ID, REPO_ID, feature_answer

KEY = ("gemma-2-2b", "20-gemmascope-res-16k", "7")

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def test_a_whole_answer_is_read():
    answer = parse_feature(feature_answer(7), *KEY)
    assert answer.label == "words for the ends of lists"
    assert answer.explanations[0].made_by == "some-model"
    assert answer.top_logits[0] == ("<end_of_turn>", 0.75)
    assert answer.bottom_logits == (("nope", -0.5), ("\u2581never", -0.25))
    assert [example.peak for example in answer.examples] == [9.25, 3.5, 1.0]
    assert answer.examples[0].tokens == ("\u2581a", "\n", "<eos>")
    assert (answer.density, answer.max_activation) == (0.003, 9.25)


def test_it_is_about_the_weights_that_it_names(source: Source):
    answer = parse_feature(feature_answer(7), *KEY)
    assert answer.is_about(source)
    assert not answer.is_about(replace(source, path="layer_20/width_16k/average_l0_139"))
    assert not answer.is_about(replace(source, repo="google/gemma-scope-9b-pt-res"))


@pytest.mark.parametrize("about", [None, {}, {"hfFolderId": None}, {"hfRepoId": REPO_ID}, "20-gemmascope-res-16k"])
def test_an_answer_that_names_no_weights_proves_nothing(about: Any, source: Source):
    assert not parse_feature(feature_answer(7, source=about), *KEY).is_about(source)


def test_the_repository_may_be_missing_but_not_another(source: Source):
    only_path = {"hfFolderId": f"/{FOLDER_ID}/"}
    assert parse_feature(feature_answer(7, source=only_path), *KEY).is_about(source)


@pytest.mark.parametrize(
    "explanations", [None, [], [{}], [{"description": ""}], [{"description": " \n"}], ["text"], [None], "text"]
)
def test_without_explanations_there_is_no_label(explanations: Any):
    assert parse_feature(feature_answer(7, explanations=explanations), *KEY).label is None


def test_the_label_is_the_first_explanation_with_words_on_one_line():
    found = [{"description": ""}, {"description": " ends\n of\tlists "}, {"description": "other"}]
    assert parse_feature(feature_answer(7, explanations=found), *KEY).label == "ends of lists"


def test_older_and_newer_names_of_the_source_are_read():
    assert feature_key({"modelId": "m", "layer": "s", "index": "3"}) == ("m", "s", "3")
    assert feature_key({"modelId": "m", "source": "s", "index": 3}) == ("m", "s", "3")
    assert feature_key({"modelId": "m", "source": {"id": "s"}, "index": "3"}) == ("m", "s", "3")


@pytest.mark.parametrize("value", [{}, [], None, "text", {"error": "Not Found"}, {"modelId": "m", "index": True}])
def test_what_is_no_feature_is_refused(value: Any):
    with pytest.raises(NeuronpediaError, match="not a feature"):
        parse_feature(value, *KEY)


def test_the_answer_for_another_feature_is_refused():
    with pytest.raises(NeuronpediaError, match="about gemma-2-2b/20-gemmascope-res-16k/8"):
        parse_feature(feature_answer(8), *KEY)


def test_examples_of_uneven_length_or_type_are_left_out():
    bad = [
        {"tokens": ["a", "b"], "values": [1]},
        {"tokens": ["a"], "values": ["1"]},
        {"tokens": [1], "values": [1]},
        {"tokens": [], "values": []},
        {"tokens": ["a"], "values": [math.nan]},
        {"tokens": ["a"], "values": [10**400]},
        {"values": [1]},
        7,
    ]
    good = {"tokens": ["a"], "values": [2]}
    answer = parse_feature(feature_answer(7, activations=[*bad, good]), *KEY)
    assert [example.values for example in answer.examples] == [(2.0,)]


def test_only_the_largest_examples_are_kept():
    many = [{"tokens": ["a"], "values": [value]} for value in range(3 * EXAMPLES)]
    answer = parse_feature(feature_answer(7, activations=many), *KEY)
    assert [example.peak for example in answer.examples] == list(range(3 * EXAMPLES - 1, 2 * EXAMPLES - 1, -1))


@given(st.sampled_from([name for name in feature_answer(7) if name not in ("modelId", "layer", "index")]), ANY_JSON)
def test_a_field_may_be_missing_or_anything(name: str, value: Any):
    full = feature_answer(7)
    without = {key: value for key, value in full.items() if key != name}
    for answer in (parse_feature(without, *KEY), parse_feature({**full, name: value, "new": value}, *KEY)):
        assert (answer.model, answer.source, answer.index) == KEY
        # What was read can be kept, and is the same when it comes back.
        assert parse_feature(json.loads(json.dumps(feature_json(answer), allow_nan=False)), *KEY) == answer
