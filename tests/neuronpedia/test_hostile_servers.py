"""Servers that mean harm: each question ends with its own deadline in one line, and the memory stays small."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saeattr.neuronpedia.answers import NeuronpediaError
from saeattr.neuronpedia.bounded import LARGEST, MOST_VALUES
from saeattr.neuronpedia.client import Client, NoAnswer
from saeattr.neuronpedia.source import Source
from saeattr.neuronpedia.transport import Request, Transport, Unreachable, ask
from tests.neuronpedia.fake_site import FakeSite, Reply
from tests.neuronpedia.hostile_server import OK, Role, answer, drips, pours, says, serving

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SLOW: dict[str, Role] = {
    "silence": drips(b"", b""),
    "status line": drips(b"", b"H"),
    "header": drips(OK + b"X: ", b"x"),
    "headers": drips(OK, b"X: x\r\n"),
    "body": drips(OK + b"Content-Length: 1000000\r\n\r\n", b"["),
    "body without length": drips(OK + b"\r\n", b" "),
    "size of a chunk": drips(CHUNKED, b"0"),
    "chunks": drips(CHUNKED, b"1\r\n[\r\n"),
    "trailers": drips(CHUNKED + b"0\r\n", b"X: x\r\n"),
    "trailers at once": pours(CHUNKED + b"0\r\n", b"X: x\r\n" * 1000),
    "go on": pours(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "body of an error": drips(b"HTTP/1.1 400 Bad\r\nContent-Length: 1000000\r\n\r\n", b"["),
}
BROKEN: dict[str, Role] = {
    "nothing": says(b""),
    "no HTTP": says(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a status of ten digits": says(b"HTTP/1.1 9999999999 OK\r\n\r\n"),
    "a status that is none": says("HTTP/1.1 \u00b2\u00b0\u00b0 OK\r\n\r\n".encode()),
    "a million headers": pours(OK, b"X: x\r\n" * 1000),
    "a header without end": pours(OK + b"X: ", b"x" * (1 << 16)),
    "fewer bytes than it said": says(OK + b"Content-Length: 100\r\n\r\n{}"),
    "chunks that are none": says(CHUNKED + b"\xff\xfe\r\n{}\r\n"),
    "a chunk that is cut": says(CHUNKED + b"ffffffffffffffffffffffff\r\n{}"),
}
LARGE: dict[str, Role] = {
    "a body without end": pours(OK + b"\r\n", b"[" * (1 << 16)),
    "a chunk without end": pours(CHUNKED + b"f" * 15 + b"\r\n", b"[" * (1 << 16)),
    "chunks without end": pours(CHUNKED, b"10000\r\n" + b"[" * (1 << 16) + b"\r\n"),
    "a length of thirty digits": pours(OK + b"Content-Length: %d\r\n\r\n" % 10**30, b"[" * (1 << 16)),
}
NO_JSON: dict[str, bytes] = {
    "lists in lists": b"[" * 100_000 + b"]" * 100_000,
    "objects in objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a number of a hundred thousand digits": b"9" * 100_000,
    "more values than any feature": b"[" + b"[]," * (MOST_VALUES // 2) + b"[]]",
    "a gzip bomb": gzip.compress(b"[" * (1 << 24)),
    "half a text": b'{"modelId": "gem',
    "other letters": '{"a": 1}'.encode("utf-16")[3:],
    "two answers": b"{}{}",
    "nothing": b"null",
}


@pytest.fixture
def asking(tmp_path: Path) -> Transport:
    return Transport(tmp_path / "requests.json", timeout_s=0.5, retries=0, interval_s=0)


@pytest.fixture(autouse=True)
def _small_memory() -> Iterator[None]:
    """What Python holds at most while a server is asked: an answer twice, and its values."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * LARGEST


def asked(role: Role, asking: Transport, error: type[Exception]) -> str:
    """The one line with which a question to such a server ends."""
    with serving(role) as address, pytest.raises(error) as caught:
        ask(replace(asking, base_url=address), Request("feature/m/s/1"))
    line = str(caught.value)
    assert len(line) < 500
    assert line.isprintable()
    return line


@pytest.mark.parametrize("where", [name for name in SLOW if name != "body of an error"])
def test_dripping_gains_no_time(where: str, asking: Transport):
    assert "no answer within 0.5 s" in asked(SLOW[where], asking, Unreachable)


def test_of_an_error_whose_words_never_end_the_status_is_told(asking: Transport):
    assert asked(SLOW["body of an error"], asking, NeuronpediaError).endswith("answered with status 400")


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_no_http_is_a_broken_connection(how: str, asking: Transport):
    assert "the connection broke" in asked(BROKEN[how], replace(asking, timeout_s=5), Unreachable)


@pytest.mark.parametrize("how", LARGE)
def test_an_answer_without_end_is_cut(how: str, asking: Transport):
    assert asked(LARGE[how], replace(asking, timeout_s=30), NeuronpediaError).endswith("answered with more than 16 MiB")


@pytest.mark.parametrize("what", NO_JSON)
def test_json_that_would_fill_memory_or_stack_is_none(what: str, asking: Transport):
    said = asked(says(answer(NO_JSON[what])), replace(asking, timeout_s=30), NeuronpediaError)
    assert said.endswith("answered with something that is not JSON")


def test_more_bytes_than_were_announced_are_not_read(asking: Transport):
    with serving(says(OK + b"Content-Length: 2\r\n\r\n{}{}")) as address:
        assert ask(replace(asking, base_url=address, timeout_s=5), Request("x")) == {}


def test_compressed_bytes_were_not_asked_for_and_stay_bytes(asking: Transport):
    packed = answer(gzip.compress(b"{}"), b"Content-Encoding: gzip")
    assert "not JSON" in asked(says(packed), replace(asking, timeout_s=5), NeuronpediaError)


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "http://example.org/", "//example.org", "/api/x", "data:,{}", ""]
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(place: str, status: int, site: FakeSite, transport: Transport):
    site.say("x", Reply(status, {}, {"Location": place}))
    with pytest.raises(NeuronpediaError, match=f"status {status}$"):
        ask(transport, Request("x"))
    assert [seen.path for seen in site.seen] == ["x"]


WAITS = ["\u00b2", "-5", "nan", "inf", "1e3", "9" * 5000, "0x10", " ", "Fri, 99 Feb 99999 99:99:99 GMT"]
WAITS += ["Mon, 01 Jan 0001 00:00:00 +2359", "Mon, 01 Jan 2024 00:00:00 +99999999999999", ",,,", "1, 2"]


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_that_is_no_number_is_not_waited(wait: str, transport: Transport, pauses: list[float]):
    """What is no number of seconds and no date has the usual pauses; the patience for one question has an end."""
    busy = b"HTTP/1.1 429 Busy\r\nContent-Length: 2\r\nRetry-After: " + wait.encode("utf-8") + b"\r\n\r\n{}"
    with serving(says(busy)) as address, pytest.raises(Unreachable, match="no more requests for now"):
        ask(replace(transport, base_url=address), Request("x"))
    assert all(0 <= pause <= 4 for pause in pauses)
    assert len(pauses) in (1, 4)


def test_pauses_that_the_server_asks_for_add_up_to_the_patience(
    site: FakeSite, transport: Transport, pauses: list[float]
):
    site.say("x", Reply(429, {}, {"Retry-After": "25"}))
    with pytest.raises(Unreachable):
        ask(replace(transport, retries=10), Request("x"))
    assert pauses == [25, 25, 0]


@pytest.mark.parametrize("word", [{"a": [1]}, ["x"], 7, True, "\x1b]0;title\x07\x1b[2J", "\u202egnp.exe", "x" * 10**6])
def test_the_words_of_an_error_are_one_short_line(word: Any, site: FakeSite, transport: Transport):
    site.say("x", Reply(400, {"error": word}))
    with pytest.raises(NeuronpediaError, match="status 400") as caught:
        ask(transport, Request("x"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("place", ["status line", "body of an error"])
def test_a_client_goes_on_with_what_it_knows(place: str, asking: Transport, source: Source, tmp_path: Path):
    with serving(SLOW[place]) as address:
        found = Client(tmp_path, replace(asking, base_url=address)).answers([(source, 1), (source, 2)])
    assert all(isinstance(one, NoAnswer) and one.note.isprintable() for one in found)


def test_a_host_that_no_address_can_have_is_unreachable(asking: Transport):
    with pytest.raises(Unreachable, match="cannot be reached"):
        ask(replace(asking, base_url=f"http://{'a' * 70}.invalid/api"), Request("x"))
