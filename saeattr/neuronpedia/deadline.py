"""HTTP with one deadline for a whole answer: a server that sends a byte now and then gains no time by it.

A socket's own timeout begins anew with every byte, in the status line, in the headers and between chunks.
"""

from __future__ import annotations

import functools
import io
import socket
import time
import urllib.request
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any


def open_within(request: urllib.request.Request, seconds: float) -> Any:
    """Send a request; connecting, headers and every later read of the answer end ``seconds`` from now.

    Redirects are not followed: the answer would come from wherever the first one points, which urllib would also send
    the key to.

    Raises:
        TimeoutError: the time is over, here or in a later read (urllib may wrap it in a ``URLError``).
        OSError, http.client.HTTPException: as ``urllib.request.urlopen``.
    """
    until = time.monotonic() + seconds
    opener = urllib.request.build_opener(_NoRedirect, _Plain(until), _Encrypted(until))
    return opener.open(request, timeout=seconds)


def _left(until: float) -> float:
    """Seconds to the deadline.

    Raises:
        TimeoutError: it is over.
    """
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class _Reader(io.RawIOBase):
    """What a socket gives, each read with the time that is left."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection, self._until = connection, until
        self._inner = connection.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connection.settimeout(_left(self._until))
        return self._inner.readinto(buffer)

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Answered:
    """All that an ``HTTPResponse`` asks of a socket."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._reader = _Reader(connection, until)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._reader)


def _response(connection: socket.socket, *arguments: Any, until: float, **named: Any) -> HTTPResponse:
    return HTTPResponse(_Answered(connection, until), *arguments, **named)  # pyright: ignore[reportArgumentType]


def _connect(address: tuple[str, int], timeout: Any, source: Any = None, *, until: float) -> socket.socket:
    """As ``socket.create_connection``, which gives each address of a name the whole time."""
    failed: OSError = OSError(f"{address[0]} has no address")
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    places = [(str(place[0]), address[1]) for *_, place in found]
    for nth, place in enumerate(places):
        try:
            connection = socket.create_connection(place, _left(until) / (len(places) - nth), source)
            # For the handshake of an encrypted one, and for sending.
            connection.settimeout(_left(until))
            return connection
        except OSError as error:
            failed = error
    raise failed


def _with_deadline(made: type[HTTPConnection], host: str, *, until: float, **named: Any) -> HTTPConnection:
    connection: Any = made(host, **named)
    connection.response_class = functools.partial(_response, until=until)
    connection._create_connection = functools.partial(_connect, until=until)
    return connection


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, until: float) -> None:
        super().__init__()
        self._made = functools.partial(_with_deadline, HTTPConnection, until=until)

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._made, req)  # pyright: ignore[reportArgumentType]


class _Encrypted(urllib.request.HTTPSHandler):
    def __init__(self, until: float) -> None:
        super().__init__()
        self._made = functools.partial(_with_deadline, HTTPSConnection, until=until)

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._made, req)  # pyright: ignore[reportArgumentType]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **named: Any) -> None:
        return None
