"""Answers of Neuronpedia with anything in any field: a feature, or a line why not; never more than is kept."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import strategies as st

from saeattr.neuronpedia.answers import (
    EXAMPLES,
    LOGITS,
    LONGEST_EXPLANATION,
    LONGEST_TOKEN,
    FeatureAnswer,
    feature_json,
    parse_feature,
)
from saeattr.neuronpedia.bounded import read_json
from saeattr.neuronpedia.lookup import Found, feature_table
from saeattr.neuronpedia.source import Source
from saeattr.neuronpedia.transport import _seconds
from saeattr.sites import Site
from tests.fuzz.cases import fuzz, unless_refused
from tests.fuzz.values import LEAVES, TEXTS, torn, trees
from tests.neuronpedia.fake_site import feature_answer

KEY = ("gemma-2-2b", "20-gemmascope-res-16k", "7")
FULL = feature_answer(7)


@st.composite
def answers(draw: st.DrawFn) -> Any:
    """A whole answer in which some fields, also deep inside, are something else."""
    value = json.loads(json.dumps(FULL))
    for _ in range(draw(st.integers(1, 4))):
        place: Any = value
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            place[key] = draw(LEAVES | trees())
            break
    return value


def check(answer: FeatureAnswer) -> None:
    assert (answer.model, answer.source, answer.index) == KEY
    for explanation in answer.explanations:
        assert explanation.text
        assert explanation.text.isprintable()
        assert len(explanation.text) <= LONGEST_EXPLANATION
    assert len(answer.examples) <= EXAMPLES
    for example in answer.examples:
        assert len(example.tokens) == len(example.values) > 0
        assert all(map(math.isfinite, example.values))
        assert max(map(len, example.tokens)) <= LONGEST_TOKEN
    for token, value in (*answer.top_logits, *answer.bottom_logits):
        assert len(token) <= LONGEST_TOKEN
        assert math.isfinite(value)
    assert max(len(answer.top_logits), len(answer.bottom_logits)) <= LOGITS
    assert answer.density is None or 0 <= answer.density <= 1
    # It can be kept, and comes back the same.
    assert parse_feature(read_json(json.dumps(feature_json(answer), allow_nan=False).encode()), *KEY) == answer


@fuzz(answers() | trees(), times=4)
def test_any_field_may_be_anything(value: Any):
    answer = unless_refused(lambda: parse_feature(value, *KEY))
    if answer is None:
        return
    check(answer)
    source, site = Source("gemma-2-2b", KEY[1], "google/gemma-scope-2b-pt-res", "x"), Site("resid_post", 20)
    table = feature_table([(site, 7)], {site: source}, {(source, 7): Found(answer, True)}, {})
    assert table["note"].iloc[0].isprintable()


@fuzz(torn(answers().map(json.dumps)) | TEXTS, times=2)
def test_any_bytes_are_json_or_not(text: str):
    try:
        value = read_json(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return
    answer = unless_refused(lambda: parse_feature(value, *KEY))
    if answer is not None:
        check(answer)


DATES = st.from_regex(
    r"(Mon, )?[0-9]{1,12} (Jan|Feb) -?[0-9]{1,12}( [0-9]{1,4}:[0-9]{1,4}(:[0-9]{1,9})?( [+-][0-9]{1,12})?)?"
)


@fuzz(TEXTS | DATES | st.text("0123456789 ,:+-JanMonGMT", max_size=40))
def test_any_header_is_a_wait_or_none(header: str):
    wait = _seconds(header, 1_700_000_000.0)
    assert wait is None or wait >= 0
