"""Quick-list addresses, read back as the site's page reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeattr.neuronpedia.lists import QUICK_LIST_SIZE, quick_list_urls
from saeattr.neuronpedia.source import Source

SOURCE = Source("gemma-2-2b", "20-gemmascope-res-16k", "repo", "path")


def opened(url: str) -> tuple[str, list[dict[str, object]]]:
    """Name and features as the site's page takes them from the address."""
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "www.neuronpedia.org", "/quick-list")
    values = parse_qs(parts.query, strict_parsing=True)
    return values["name"][0], json.loads(values["features"][0])


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=400), st.text(min_size=1).filter(str.isprintable))
def test_every_feature_is_in_one_page_in_order(features: list[int], name: str):
    pages = [opened(url) for url in quick_list_urls(name, [(SOURCE, feature) for feature in features])]
    assert all(1 <= len(items) <= QUICK_LIST_SIZE == 150 for _, items in pages)
    assert len(pages) == -(-len(features) // QUICK_LIST_SIZE)
    items = [item for _, page in pages for item in page]
    # The page compares the index with a string.
    assert items == [
        {"modelId": "gemma-2-2b", "layer": "20-gemmascope-res-16k", "index": str(feature)} for feature in features
    ]


def test_pages_say_which_part_they_are():
    urls = quick_list_urls("ends of lists", [(SOURCE, feature) for feature in range(301)])
    assert [opened(url)[0] for url in urls] == [f"ends of lists ({number} of 3)" for number in (1, 2, 3)]
    assert opened(quick_list_urls("ends & lists", [(SOURCE, 1)])[0])[0] == "ends & lists"


def test_a_feature_is_listed_once():
    again = replace(SOURCE)
    assert len(opened(quick_list_urls("x", [(SOURCE, 1), (again, 1), (SOURCE, 2)])[0])[1]) == 2


@pytest.mark.parametrize("letter", ["#", "&", "+", "%", '"', " ", "é"])
def test_no_letter_of_a_name_leaves_its_place(letter: str):
    assert opened(quick_list_urls(f"a{letter}b", [(SOURCE, 1)])[0])[0] == f"a{letter}b"
