"""Features from a server that answers like Neuronpedia, and from the cache when it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from saeattr.errors import UserError
from saeattr.neuronpedia.answers import FeatureAnswer
from saeattr.neuronpedia.client import (
    CHECKED_AT_ONCE,
    PATIENCE,
    Client,
    NoAnswer,
    cached_path,
    default_cache,
    open_client,
)
from saeattr.neuronpedia.source import Source
from saeattr.neuronpedia.transport import Transport
from tests.neuronpedia.fake_site import FakeSite, Reply, feature_answer

AT = "feature/gemma-2-2b/20-gemmascope-res-16k"


def serve(site: FakeSite, *features: int) -> None:
    for feature in features:
        site.say(f"{AT}/{feature}", Reply(200, feature_answer(feature, f"label {feature}")))


def labels(found: list[FeatureAnswer | NoAnswer]) -> list[str | None]:
    return [one.label if isinstance(one, FeatureAnswer) else one.note for one in found]


def test_answers_come_in_the_order_asked(site: FakeSite, client: Client, source: Source):
    serve(site, 1, 2, 3)
    assert labels(client.answers([(source, 3), (source, 1), (source, 2)])) == ["label 3", "label 1", "label 2"]


def test_what_was_asked_once_needs_no_network(site: FakeSite, client: Client, source: Source):
    serve(site, 1)
    first = client.answers([(source, 1), (source, 404)])
    offline = replace(client, transport=None)
    assert offline.answers([(source, 1), (source, 404)]) == first
    assert client.answers([(source, 1), (source, 404)]) == first
    assert len(site.seen) == 2
    assert isinstance(first[1], NoAnswer)
    assert first[1].missing


def test_without_network_what_is_not_cached_is_said(source: Source, tmp_path: Path):
    found = open_client(tmp_path, network=False).answers([(source, 1), (source, 2)])
    assert labels(found) == ["not cached, and the network is switched off"] * 2
    assert all(isinstance(one, NoAnswer) and one.unreachable for one in found)
    assert not any(tmp_path.iterdir())


def test_one_bad_feature_does_not_stop_the_others(site: FakeSite, client: Client, source: Source):
    serve(site, 1, 4)
    site.say(f"{AT}/2", Reply(500, {"error": "Unknown Error"}))
    site.say(f"{AT}/3", Reply(200, b"<html>"))
    found = labels(client.answers([(source, feature) for feature in (1, 2, 3, 4)]))
    assert (found[0], found[3]) == ("label 1", "label 4")
    assert "status 500 (Unknown Error)" in str(found[1])
    assert "not JSON" in str(found[2])


def test_a_failure_is_asked_again_the_next_time(site: FakeSite, client: Client, source: Source):
    site.say(f"{AT}/1", Reply(200, {"modelId": None}), Reply(200, feature_answer(1, "label 1")))
    assert "not a feature" in str(labels(client.answers([(source, 1)]))[0])
    assert labels(client.answers([(source, 1)])) == ["label 1"]


def test_a_server_that_is_down_is_not_asked_for_every_feature(site: FakeSite, client: Client, source: Source):
    for feature in range(20):
        site.say(f"{AT}/{feature}", Reply(500))
    found = client.answers([(source, feature) for feature in range(20)])
    assert all(isinstance(one, NoAnswer) for one in found)
    assert len({seen.path for seen in site.seen}) == PATIENCE


def test_a_gone_network_leaves_the_cache(site: FakeSite, client: Client, transport: Transport, source: Source):
    serve(site, 2)
    client.answers([(source, 2)])
    site.say(f"{AT}/1", Reply(429, {"error": "Rate limit exceeded"}))
    asked = len(site.seen)
    found = labels(client.answers([(source, feature) for feature in (1, 2, 3)]))
    assert found[1] == "label 2"
    assert found[0] == found[2]
    assert "no more requests" in str(found[0])
    assert len(site.seen) == asked + 1 + transport.retries


@pytest.mark.parametrize("content", ["", "{", "[]", '{"modelId": "gemma-2-2b"}', "\x00"])
def test_a_damaged_cache_file_is_fetched_again(content: str, site: FakeSite, client: Client, source: Source):
    serve(site, 1)
    path = cached_path(client.cache, source.model, source.source, "1")
    path.parent.mkdir(parents=True)
    path.write_text(content, encoding="utf-8")
    assert labels(client.answers([(source, 1)])) == ["label 1"]
    assert labels(replace(client, transport=None).answers([(source, 1)])) == ["label 1"]


def test_a_cached_answer_is_the_fetched_one(site: FakeSite, client: Client, source: Source):
    serve(site, 1)
    assert client.answers([(source, 1)]) == [client.cached(source, 1)]


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../x", "/etc", ".hidden"])
def test_an_id_never_leads_out_of_the_cache(name: str, tmp_path: Path):
    path = cached_path(tmp_path, name, name, "1")
    assert path.resolve().parent.parent.parent == tmp_path.resolve()


def test_existence_is_matched_by_all_three_ids(site: FakeSite, client: Client, source: Source):
    other = replace(source, source="0-gemmascope-res-16k")
    # The real answer leaves unknown features out and is sorted by index only.
    there = [
        {"modelId": "gemma-2-2b", "layer": "20-gemmascope-res-16k", "index": "5"},
        {"modelId": "gemma-2-2b", "layer": "0-gemmascope-res-16k", "index": "3"},
    ]
    site.say("features", Reply(200, there))
    wanted = [(other, 3), (other, 5), (source, 3), (source, 5)]
    assert client.known(wanted) == [True, False, False, True]
    assert site.seen[0].body[0] == {
        "modelId": "gemma-2-2b",
        "layer": "0-gemmascope-res-16k",
        "index": 3,
        "maxActsToReturn": 1,
    }


def test_existence_is_asked_in_parts_and_not_where_it_is_cached(site: FakeSite, client: Client, source: Source):
    serve(site, 0)
    client.answers([(source, 0)])
    site.seen.clear()
    site.say("features", Reply(200, []))
    wanted = [(source, feature) for feature in range(CHECKED_AT_ONCE + 5)]
    assert client.known(wanted) == [True] + [False] * (CHECKED_AT_ONCE + 4)
    assert [len(seen.body) for seen in site.seen] == [CHECKED_AT_ONCE, 4]


@pytest.mark.parametrize("reply", [Reply(500), Reply(200, b"no"), Reply(200, {"error": "x"}), Reply(429)])
def test_existence_may_stay_unknown(reply: Reply, site: FakeSite, client: Client, source: Source):
    site.say("features", reply)
    assert client.known([(source, 1), (source, 2)]) == [None, None]
    assert replace(client, transport=None).known([(source, 1)]) == [None]


def test_a_cache_that_cannot_be_written_is_told_before_the_first_request(tmp_path: Path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match=r"cache .* cannot be written \(.*: point XDG_CACHE_HOME"):
        open_client(tmp_path / "file" / "cache")
    assert open_client(tmp_path / "file" / "cache", network=False).transport is None
    assert open_client(tmp_path / "new").transport is not None


def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "saeattr" / "neuronpedia"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "saeattr" / "neuronpedia"
