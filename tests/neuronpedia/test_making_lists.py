"""Lists are made in parts, with a key that is written nowhere."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from saeattr.errors import UserError
from saeattr.neuronpedia.answers import NeuronpediaError
from saeattr.neuronpedia.lists import (
    ADDED_AT_ONCE,
    KEY_VARIABLE,
    LIST_ID,
    ListItem,
    list_requests,
    read_key,
    request_text,
    send_list,
)
from saeattr.neuronpedia.source import Source
from saeattr.neuronpedia.transport import Transport
from tests.neuronpedia.fake_site import FakeSite, Reply

KEY = "sk-np-secret-0123456789"


def items(source: Source, count: int) -> list[ListItem]:
    return [ListItem(source, feature, f"effect {feature}") for feature in range(count)]


def test_a_list_is_made_then_filled_a_hundred_at_a_time(site: FakeSite, transport: Transport, source: Source):
    site.say("list/new", Reply(200, {"id": "abc/1", "url": "https://elsewhere.org"}))
    site.say("list/add-features", Reply(201, {"id": "abc/1"}))
    url = send_list(transport, list_requests("ends", "of lists", items(source, 250)), KEY)
    assert url == "https://www.neuronpedia.org/list/abc%2F1"
    first, *rest = site.seen
    assert (first.method, first.path, first.body) == ("POST", "list/new", {"name": "ends", "description": "of lists"})
    assert [seen.path for seen in rest] == ["list/add-features"] * 3
    assert [len(seen.body["featuresToAdd"]) for seen in rest] == [ADDED_AT_ONCE, ADDED_AT_ONCE, 50]
    assert {seen.body["listId"] for seen in rest} == {"abc/1"}
    assert rest[0].body["featuresToAdd"][7] == {
        "modelId": "gemma-2-2b",
        "layer": "20-gemmascope-res-16k",
        "index": "7",
        "description": "effect 7",
    }
    assert all(seen.headers["x-api-key"] == KEY for seen in site.seen)


def test_a_feature_is_added_once(source: Source):
    _, add = list_requests("ends", "", [*items(source, 3), *items(replace(source), 3)])
    assert [item["index"] for item in add.body["featuresToAdd"]] == ["0", "1", "2"]


def test_what_is_shown_is_what_is_sent(site: FakeSite, transport: Transport, source: Source):
    site.say("list/new", Reply(200, {"id": LIST_ID}))
    site.say("list/add-features", Reply(200, {}))
    requests = list_requests("ends", "of lists", items(source, 3))
    shown = [request_text(transport.base_url, request) for request in requests]
    send_list(transport, requests, KEY)
    for text, seen in zip(shown, site.seen, strict=True):
        head, _, body = text.partition("\n\n")
        line, *headers = head.split("\n")
        assert line == f"{seen.method} {transport.base_url}/{seen.path}"
        assert json.loads(body) == seen.body
        named = dict(header.lower().split(": ") for header in headers)
        assert named["content-type"] == seen.headers["content-type"]
        assert named["x-api-key"] == f"${KEY_VARIABLE}".lower()
    assert KEY not in "".join(shown)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(401, {"error": f"bad key {KEY}"}), "check the API key"),
        (Reply(500), "status 500"),
        (Reply(200, {"url": "x"}), "did not say the new list's id"),
        (Reply(200, ["abc"]), "did not say the new list's id"),
        (Reply(200, b"<html>"), "not JSON"),
    ],
)
def test_a_list_that_is_not_made_is_not_filled(
    reply: Reply, said: str, site: FakeSite, transport: Transport, source: Source
):
    site.say("list/new", reply)
    with pytest.raises(NeuronpediaError, match=said) as caught:
        send_list(transport, list_requests("ends", "", items(source, 3)), KEY)
    assert len(site.seen) == 1
    assert KEY not in str(caught.value)


def test_a_list_that_is_filled_in_part_says_how_far(site: FakeSite, transport: Transport, source: Source):
    site.say("list/new", Reply(200, {"id": "abc"}))
    site.say("list/add-features", Reply(200, {}), Reply(400, {"error": "duplicate feature"}))
    with pytest.raises(NeuronpediaError, match=r"list/abc was made, but 100 of its 120 features.*duplicate feature"):
        send_list(transport, list_requests("ends", "", items(source, 120)), KEY)
    # What adds something is not sent twice.
    assert len(site.seen) == 3


def test_a_key_comes_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match=f"set {KEY_VARIABLE}"):
        read_key()
    monkeypatch.setenv(KEY_VARIABLE, f" {KEY}\n")
    assert read_key() == KEY


@pytest.mark.parametrize("key", ["two words", "line\nbreak: x", "schl\u00fcssel", "a\x00b"])
def test_what_is_no_key_is_refused_without_being_repeated(key: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.environ", {KEY_VARIABLE: key})
    with pytest.raises(UserError, match="is not a key") as caught:
        read_key()
    assert key not in str(caught.value)


def test_a_list_needs_a_name_and_features(source: Source):
    with pytest.raises(UserError, match="needs a name"):
        list_requests(" ", "", items(source, 1))
    with pytest.raises(UserError, match="no list to make"):
        list_requests("ends", "", [])
