"""A local server that speaks HTTP badly on purpose: each role writes what it likes to the client."""

from __future__ import annotations

import socket
import socketserver
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

#: Seconds between two bytes of a server that is not silent and never done.
DRIP = 0.02
OK = b"HTTP/1.1 200 OK\r\n"

Role = Callable[[socket.socket], None]


@contextmanager
def serving(role: Role) -> Iterator[str]:
    """The address of a server that reads each request and plays ``role``, until the client has had enough."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                self.request.recv(1 << 16)
                role(self.request)
            except OSError:
                pass  # The client has gone, as it should.

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, allow_reuse_address = True, True
        # A role that never ends would hold the test at its end.
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/api"
        finally:
            server.shutdown()


def says(answer: bytes) -> Role:
    """It says so and closes."""
    return lambda client: client.sendall(answer)


def drips(before: bytes, drop: bytes) -> Role:
    """After ``before`` comes one drop after the other, without end."""

    def role(client: socket.socket) -> None:
        client.sendall(before)
        while True:
            client.sendall(drop)
            time.sleep(DRIP)

    return role


def pours(before: bytes, part: bytes) -> Role:
    """After ``before`` comes ``part`` as fast as it is taken, without end."""

    def role(client: socket.socket) -> None:
        client.sendall(before)
        while True:
            client.sendall(part)

    return role


def answer(body: bytes, *headers: bytes) -> bytes:
    """A good answer's bytes around any body."""
    lines = [OK, *(header + b"\r\n" for header in headers), b"Content-Length: %d\r\n\r\n" % len(body), body]
    return b"".join(lines)
