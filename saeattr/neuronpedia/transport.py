"""One request to Neuronpedia by plain HTTP: limits kept, tried again with growing pauses, an end to waiting."""

from __future__ import annotations

import email.utils
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from typing import Any

from saeattr.errors import UserError, one_line
from saeattr.files import write_text
from saeattr.neuronpedia.answers import LONGEST_NAME, NeuronpediaError
from saeattr.neuronpedia.bounded import LARGEST, read_file, read_json
from saeattr.neuronpedia.deadline import open_within
from saeattr.neuronpedia.source import API_URL

#: Neuronpedia's limit for each address and 60 minutes, over all of what is used here (its middleware.ts, August 2026).
HOURLY_LIMIT = 25_000


class Unreachable(NeuronpediaError):
    """Neuronpedia does not answer, or not now: more requests would not help."""


class NotThere(NeuronpediaError):
    """Neuronpedia has no such thing."""


@dataclass(frozen=True)
class Transport:
    """How to ask.

    Attributes:
        base_url: of the API.
        requests: the file that counts the hour's requests.
        timeout_s: for one answer, from connecting to its last byte, however it comes.
        patience_s: for one question: all its tries, and the pauses between them that the server may ask for.
        retries: more tries after one that failed in a way that may pass.
        pause_s: before the first of them; doubled each time.
        interval_s: between requests.
    """

    requests: Path
    base_url: str = API_URL
    timeout_s: float = 20.0
    patience_s: float = 60.0
    retries: int = 3
    pause_s: float = 1.0
    interval_s: float = 0.15
    hourly_limit: int = HOURLY_LIMIT
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.base_url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        except ValueError:
            usable = False
        if not usable:
            raise UserError(f"{self.base_url!r} is not the address of an API: write https://HOST/api")


@dataclass(frozen=True)
class _Outcome:
    """What one try gave: an answer's status and body, or why there is none (``failed``)."""

    status: int = 0
    body: bytes = b""
    retry_after: float | None = None
    failed: str = ""


@dataclass(frozen=True)
class Request:
    """What is asked; ``body`` makes it a POST. A key goes into the header ``x-api-key`` and nowhere else.

    Attributes:
        repeatable: whether asking twice does no harm; False for what makes or adds something.
    """

    path: str
    body: Any = None
    key: str | None = field(default=None, repr=False)
    repeatable: bool = True


def ask(transport: Transport, request: Request) -> Any:
    """The answer's JSON.

    Raises:
        NotThere: 404.
        Unreachable: no connection, no answer in time, or too many requests.
        NeuronpediaError: any other refusal, or an answer that is not JSON.
    """
    pause, left = transport.pause_s, transport.patience_s
    for tries_left in range(transport.retries, -1, -1):
        minutes = spend_request(transport.requests, transport.clock(), transport.hourly_limit)
        if minutes:
            raise Unreachable(
                f"this hour's {transport.hourly_limit:,} requests to Neuronpedia are used up: "
                f"try again in {minutes} minutes (what is cached stays), or read its bulk exports"
            )
        began = time.monotonic()
        outcome = _try(transport, request, min(transport.timeout_s, left))
        left -= time.monotonic() - began
        wait = pause if outcome.retry_after is None else outcome.retry_after
        # A 429 was turned away at the door; anything else may have been done before it failed.
        passing = outcome.status == 429 or (request.repeatable and (outcome.failed or outcome.status >= 500))
        if not (passing and tries_left and wait < left):
            transport.sleep(transport.interval_s)
            return _read(transport, request, outcome)
        transport.sleep(wait)
        left -= wait
        pause *= 2
    raise AssertionError("the last try returns or raises")


def _try(transport: Transport, request: Request, seconds: float) -> _Outcome:
    headers = {"Accept": "application/json", "User-Agent": "saeattr"}
    data = None if request.body is None else json.dumps(request.body).encode()
    if data is not None:
        headers["Content-Type"] = "application/json"
    if request.key is not None:
        _check_private(transport.base_url)
        headers["x-api-key"] = request.key
    asked = urllib.request.Request(f"{transport.base_url}/{request.path}", data=data, headers=headers)
    late = f"no answer within {seconds:.3g} s"
    try:
        with open_within(asked, seconds) as answer:
            return _Outcome(answer.status, _read_body(answer))
    except urllib.error.HTTPError as error:
        with error:
            try:
                body = _read_body(error)
            except (OSError, HTTPException):
                body = b""
            return _Outcome(error.code, body, _seconds(error.headers.get("Retry-After"), transport.clock()))
    except TimeoutError:
        return _Outcome(failed=late)
    except urllib.error.URLError as error:
        return _Outcome(failed=late if isinstance(error.reason, TimeoutError) else str(error.reason))
    # A host's name may be one that no address can have.
    except (OSError, HTTPException, UnicodeError) as error:
        return _Outcome(failed=f"the connection broke ({type(error).__name__})")


def _read(transport: Transport, request: Request, outcome: _Outcome) -> Any:
    """The JSON of a good answer, or the exception of any other."""
    place = f"{transport.base_url}/{request.path}"
    if outcome.failed:
        raise Unreachable(f"{transport.base_url} cannot be reached: {_clean(outcome.failed, request.key)}")
    if len(outcome.body) > LARGEST:
        raise NeuronpediaError(f"{place} answered with more than {LARGEST // 2**20} MiB")
    try:
        value = read_json(outcome.body)
    except ValueError:
        value = None
    good = 200 <= outcome.status < 300
    if good and value is not None:
        return value
    told = (value.get("error"), value.get("message")) if isinstance(value, dict) else ()
    said = next((f" ({_clean(text, request.key)})" for text in told if text and isinstance(text, str)), "")
    if outcome.status == 404:
        raise NotThere(f"Neuronpedia has nothing at {place}")
    if outcome.status == 429:
        raise Unreachable(f"Neuronpedia takes no more requests for now{said}: try again later (what is cached stays)")
    if outcome.status in (401, 403):
        raise NeuronpediaError(f"Neuronpedia refuses {place}{said}: check the API key")
    if good:
        raise NeuronpediaError(f"{place} answered with something that is not JSON")
    raise NeuronpediaError(f"{place} answered with status {outcome.status}{said}")


def _read_body(answer: Any) -> bytes:
    """The answer's bytes, cut where it is larger than any feature.

    Raises:
        TimeoutError: the time is over.
        IncompleteRead: it ends before the length that it names.
    """
    body = bytearray()
    while len(body) <= LARGEST and (part := answer.read1(1 << 16)):
        body += part
    if len(body) <= LARGEST and answer.length:
        raise IncompleteRead(bytes(body), answer.length)
    return bytes(body)


def _seconds(retry_after: str | None, now: float) -> float | None:
    """A Retry-After header, which is a number of seconds or a date; None where it is neither."""
    text = (retry_after or "").strip()
    # Digits of other scripts are none of HTTP's.
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    # Of dates that no calendar has, the last two; of zones that no country has, the third.
    except (ValueError, TypeError, OverflowError, IndexError, OSError):
        return None


def _check_private(base_url: str) -> None:
    """A key is sent encrypted, or not beyond this machine."""
    parts = urllib.parse.urlsplit(base_url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise UserError(f"the API key is not sent to {base_url}, which is not encrypted: use an https address")


def _clean(text: str, key: str | None) -> str:
    """What a server said, as one short printable line without the key."""
    return one_line(text.replace(key, "...") if key else text, LONGEST_NAME)


WINDOW_MINUTES = 60


def spend_request(path: Path, now: float, limit: int = HOURLY_LIMIT) -> int:
    """Count one request at ``now`` (seconds), unless the hour is used up.

    Returns:
        0 if it may go out; else the minutes until one may.
    """
    minute = int(now // 60)
    counts = {at: count for at, count in _read_counts(path).items() if minute - WINDOW_MINUTES <= at <= minute}
    if sum(counts.values()) >= limit:
        return min(counts) + WINDOW_MINUTES + 1 - minute
    counts[minute] = counts.get(minute, 0) + 1
    write_text(path, json.dumps(counts) + "\n")
    return 0


def _read_counts(path: Path) -> dict[int, int]:
    """Requests by minute; nothing where the file is missing or damaged."""
    try:
        counts = read_json(read_file(path))
        return {int(minute): int(count) for minute, count in counts.items()}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return {}
