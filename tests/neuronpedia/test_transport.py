"""Requests against a server that fails in every way it can."""

from __future__ import annotations

import email.utils
import socket
from dataclasses import replace
from typing import Any

import pytest

from saeattr.errors import UserError
from saeattr.neuronpedia.answers import NeuronpediaError
from saeattr.neuronpedia.transport import WINDOW_MINUTES, NotThere, Request, Transport, Unreachable, ask, spend_request
from tests.neuronpedia.fake_site import FakeSite, Reply

KEY = "sk-np-secret-0123456789"
GOOD = Reply(200, {"fine": True})
FULL = Reply(429, {"error": "Rate limit exceeded", "limitPerWindow": 25000, "requestWindow": "60 m"})


def test_an_answer_is_its_json(site: FakeSite, transport: Transport):
    site.say("x", GOOD)
    assert ask(transport, Request("x")) == {"fine": True}
    assert [(seen.method, seen.body) for seen in site.seen] == [("GET", None)]
    assert "x-api-key" not in site.seen[0].headers


def test_a_body_makes_it_a_post(site: FakeSite, transport: Transport):
    site.say("x", GOOD)
    ask(transport, Request("x", [{"index": 1}], key=KEY))
    seen = site.seen[0]
    assert (seen.method, seen.body) == ("POST", [{"index": 1}])
    assert (seen.headers["content-type"], seen.headers["x-api-key"]) == ("application/json", KEY)


@pytest.mark.parametrize("fault", [FULL, Reply(500), Reply(502, b"<html>bad gateway"), Reply(503, {"error": "busy"})])
def test_what_may_pass_is_tried_again_with_growing_pauses(
    fault: Reply, site: FakeSite, transport: Transport, pauses: list[float]
):
    site.say("x", fault, fault, GOOD)
    assert ask(transport, Request("x")) == {"fine": True}
    assert pauses[:2] == [1.0, 2.0]
    assert len(site.seen) == 3


def test_the_server_says_how_long_to_wait(site: FakeSite, transport: Transport, pauses: list[float]):
    date = email.utils.formatdate(transport.clock() + 30, usegmt=True)
    replies = [replace(FULL, headers={"Retry-After": wait}) for wait in ("7", date, "nonsense")]
    site.say("x", *replies, GOOD)
    assert ask(transport, Request("x")) == {"fine": True}
    assert pauses[0] == 7
    assert 28 < pauses[1] <= 30
    assert pauses[2] == 4


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "1800"}])
def test_a_server_that_has_had_enough_is_left_alone(
    headers: dict[str, str], site: FakeSite, transport: Transport, pauses: list[float]
):
    site.say("x", replace(FULL, headers=headers))
    with pytest.raises(Unreachable, match=r"no more requests for now \(Rate limit exceeded\)"):
        ask(transport, Request("x"))
    assert len(site.seen) == (1 if headers else 1 + transport.retries)
    assert all(pause <= 60 for pause in pauses)


def test_nothing_is_at_an_unknown_address(site: FakeSite, transport: Transport):
    with pytest.raises(NotThere):
        ask(transport, Request("feature/m/s/1"))
    assert len(site.seen) == 1


def test_errors_that_stay_are_told(site: FakeSite, transport: Transport):
    site.say("x", Reply(500, {"error": "database\n\x1b[31m down"}))
    with pytest.raises(NeuronpediaError, match=r"status 500 \(database \[31m down\)$"):
        ask(transport, Request("x"))
    assert len(site.seen) == 1 + transport.retries
    site.say("y", Reply(400, {"message": "Invalid JSON body"}))
    with pytest.raises(NeuronpediaError, match=r"status 400 \(Invalid JSON body\)"):
        ask(transport, Request("y"))


@pytest.mark.parametrize("body", [b"<html>hello", b"", b"{", b"\xff\xfe", b"[" * 200_000])
def test_what_is_not_json_is_refused(body: bytes, site: FakeSite, transport: Transport):
    site.say("x", Reply(200, body))
    with pytest.raises(NeuronpediaError, match="not JSON") as caught:
        ask(transport, Request("x"))
    assert not isinstance(caught.value, Unreachable)


@pytest.mark.parametrize("slow", [Reply(wait_s=1.0, body={}), Reply(drip_s=0.05, body=["long" * 20])])
def test_a_slow_server_is_given_up(slow: Reply, site: FakeSite, transport: Transport):
    site.say("x", slow)
    with pytest.raises(Unreachable, match="no answer within 0.3 s"):
        ask(replace(transport, timeout_s=0.3, retries=0), Request("x"))


def test_a_slow_answer_may_be_followed_by_a_good_one(site: FakeSite, transport: Transport):
    site.say("x", Reply(wait_s=1.0, body={}), GOOD)
    assert ask(replace(transport, timeout_s=0.3), Request("x")) == {"fine": True}


def test_no_server_at_all(transport: Transport):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/api"
        with pytest.raises(Unreachable, match="cannot be reached"):
            ask(replace(transport, base_url=address), Request("x"))


def test_what_makes_something_is_not_sent_twice(site: FakeSite, transport: Transport):
    site.say("x", Reply(500), GOOD)
    with pytest.raises(NeuronpediaError, match="status 500"):
        ask(transport, Request("x", {}, repeatable=False))
    assert len(site.seen) == 1
    # A 429 did nothing, so it may be sent again.
    site.say("y", FULL, GOOD)
    assert ask(transport, Request("y", {}, repeatable=False)) == {"fine": True}


def test_a_key_does_not_follow_a_redirect(site: FakeSite, transport: Transport):
    site.say("x", Reply(302, {}, {"Location": site.base_url + "/elsewhere"}))
    with pytest.raises(NeuronpediaError, match="status 302"):
        ask(transport, Request("x", key=KEY))
    assert [seen.path for seen in site.seen] == ["x"]


@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_key_is_in_no_exception_and_no_repr(status: int, site: FakeSite, transport: Transport):
    site.say("x", Reply(status, {"error": f"the key {KEY} is bad"}))
    request = Request("x", {}, key=KEY)
    with pytest.raises(NeuronpediaError, match=r"the key \.\.\. is bad") as caught:
        ask(transport, request)
    assert KEY not in repr(request)
    assert KEY not in repr(caught.value)


def test_a_key_is_not_sent_in_the_clear(transport: Transport):
    with pytest.raises(UserError, match="not encrypted"):
        ask(replace(transport, base_url="http://example.org/api"), Request("x", key=KEY))


@pytest.mark.parametrize(
    "address", ["", "file:///etc/passwd", "ftp://host/api", "host/api", "http://[/", "http://u:p@h"]
)
def test_what_is_no_address_is_refused(address: str, tmp_path):
    with pytest.raises(UserError, match="not the address of an API"):
        Transport(tmp_path / "requests.json", address)


def test_the_hours_requests_are_counted_over_runs(site: FakeSite, transport: Transport):
    site.say("x", GOOD)
    now = [1_000_000.0]
    for _ in range(3):
        ask(replace(transport, hourly_limit=3, clock=lambda: now[0]), Request("x"))
    with pytest.raises(Unreachable, match=r"this hour's 3 requests .* in 61 minutes"):
        ask(replace(transport, hourly_limit=3, clock=lambda: now[0]), Request("x"))
    assert len(site.seen) == 3
    now[0] += 61 * 60
    assert ask(replace(transport, hourly_limit=3, clock=lambda: now[0]), Request("x")) == {"fine": True}


def test_tries_count_as_requests(site: FakeSite, transport: Transport):
    site.say("x", Reply(500))
    with pytest.raises(Unreachable, match="are used up"):
        ask(replace(transport, hourly_limit=2), Request("x"))
    assert len(site.seen) == 2


def test_no_hour_holds_more_than_the_limit(tmp_path):
    path, limit = tmp_path / "requests.json", 5
    sent = [minute for minute in range(400) if spend_request(path, 60.0 * minute, limit) == 0]
    for start in range(400):
        assert sum(start <= minute < start + WINDOW_MINUTES for minute in sent) <= limit
    assert len(sent) >= 4 * limit


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', '{"1": null}'])
def test_a_damaged_count_starts_anew(content: str, tmp_path: Any):
    path = tmp_path / "requests.json"
    path.write_text(content, encoding="utf-8")
    assert spend_request(path, 0.0) == 0
