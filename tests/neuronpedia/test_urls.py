from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeattr.errors import UserError
from saeattr.neuronpedia.source import api_url, embed_url, feature_url, index_text

PLACE = ("gemma-2-2b", "20-gemmascope-res-16k", 16323)


def test_a_feature_has_a_page_and_data():
    assert feature_url(*PLACE) == "https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/16323"
    assert api_url(*PLACE) == "https://www.neuronpedia.org/api/feature/gemma-2-2b/20-gemmascope-res-16k/16323"


def test_an_embedded_page_is_the_page_with_a_switch():
    assert embed_url(*PLACE) == feature_url(*PLACE) + "?embed=true"


@given(st.text(min_size=1))
def test_no_letter_of_an_id_leaves_its_place(name: str):
    parts = urlsplit(feature_url(name, name, 7))
    assert (parts.netloc, parts.query, parts.fragment) == ("www.neuronpedia.org", "", "")
    assert [unquote(part) for part in parts.path.split("/")[1:]] == [name, name, "7"]


def test_an_index_is_a_string_of_digits():
    assert index_text(7) == "7" == index_text("007")


@pytest.mark.parametrize("index", [-1, True, "1.0", "", "²", "[[1]]", "../1"])
def test_what_is_no_index_is_refused(index):
    with pytest.raises(UserError, match="not a feature's index"):
        index_text(index)
