"""A local server in place of Neuronpedia for all of these tests: none opens a connection beyond this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from saeattr.neuronpedia.client import Client
from saeattr.neuronpedia.source import Source
from saeattr.neuronpedia.transport import Transport
from tests.neuronpedia.fake_site import FOLDER_ID, REPO_ID, FakeSite, fake_site


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this machine can be reached, and no proxy is asked to reach it."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        assert address[0] == "127.0.0.1", f"a test reaches for {address}"
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("NEURONPEDIA_API_KEY", raising=False)


@pytest.fixture
def site() -> Iterator[FakeSite]:
    with fake_site() as running:
        yield running


@pytest.fixture
def pauses() -> list[float]:
    """Every pause that the client would have made, in seconds."""
    return []


@pytest.fixture
def transport(site: FakeSite, pauses: list[float], tmp_path) -> Transport:
    return Transport(
        tmp_path / "cache" / "requests.json", site.base_url, timeout_s=5, interval_s=0, sleep=pauses.append
    )


@pytest.fixture
def client(transport: Transport, tmp_path) -> Client:
    return Client(tmp_path / "cache", transport)


@pytest.fixture
def source() -> Source:
    return Source("gemma-2-2b", "20-gemmascope-res-16k", REPO_ID, FOLDER_ID)
