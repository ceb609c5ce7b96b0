"""Features from Neuronpedia, one polite request each, kept in a cache that works without a network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from saeattr.errors import UserError
from saeattr.files import write_text
from saeattr.neuronpedia.answers import FeatureAnswer, NeuronpediaError, feature_json, feature_key, parse_feature
from saeattr.neuronpedia.bounded import read_file, read_json
from saeattr.neuronpedia.source import API_URL, Source, api_url, index_text
from saeattr.neuronpedia.transport import NotThere, Request, Transport, Unreachable, ask

#: Features in one request that asks only whether they exist.
CHECKED_AT_ONCE = 50
#: After so many useless answers in a row the rest is not asked for.
PATIENCE = 3


@dataclass(frozen=True)
class NoAnswer:
    """Why nothing is known of a feature.

    Attributes:
        missing: Neuronpedia itself says that it has none.
        unreachable: it does not answer, so there is no use in asking it something else now.
    """

    note: str
    missing: bool = False
    unreachable: bool = False


#: A feature by its SAE's source and its number.
Wanted = tuple[Source, int]


@dataclass(frozen=True)
class Client:
    """Neuronpedia over the network.

    Attributes:
        cache: folder of the answers kept.
        transport: how to ask; None asks nothing and answers from the cache alone.
    """

    cache: Path
    transport: Transport | None

    def answers(
        self, wanted: Sequence[Wanted], on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> list[FeatureAnswer | NoAnswer]:
        """One answer for each wanted feature, in order; what is cached is not asked for again.

        A feature that cannot be had does not stop the others; a network that is gone is not asked twice.
        """
        found: list[FeatureAnswer | NoAnswer] = []
        gone: NoAnswer | None = None
        failures = 0
        for done, (source, feature) in enumerate(wanted):
            on_progress(done, len(wanted))
            kept = self.cached(source, feature) or gone
            if kept is not None:
                found.append(kept)
                continue
            try:
                found.append(self._fetch(source, feature))
                failures = 0
            except NeuronpediaError as error:
                failures += 1
                away = isinstance(error, Unreachable)
                found.append(NoAnswer(str(error), unreachable=away))
                gone = NoAnswer(str(error), unreachable=away) if away or failures >= PATIENCE else None
        on_progress(len(wanted), len(wanted))
        return found

    def cached(self, source: Source, feature: int) -> FeatureAnswer | NoAnswer | None:
        """What the cache holds of a feature."""
        kept = read_cached(self.cache, source.model, source.source, index_text(feature))
        return _missing(source, feature) if isinstance(kept, Missing) else kept

    def known(self, wanted: Sequence[Wanted]) -> list[bool | None]:
        """Whether Neuronpedia has each feature; None where that could not be found out."""
        found: dict[Wanted, bool | None] = {one: _exists(self.cached(*one)) for one in wanted}
        open_ones = [one for one, exists in found.items() if exists is None]
        for start in range(0, len(open_ones), CHECKED_AT_ONCE):
            part = open_ones[start : start + CHECKED_AT_ONCE]
            try:
                found.update(self._check(part))
            except Unreachable:
                break
            except NeuronpediaError:
                continue
        return [found[one] for one in wanted]

    def _fetch(self, source: Source, feature: int) -> FeatureAnswer | NoAnswer:
        if self.transport is None:
            raise Unreachable("not cached, and the network is switched off")
        index = index_text(feature)
        try:
            value = ask(self.transport, Request(api_url(source.model, source.source, index, "").lstrip("/")))
        except NotThere:
            write_cached(self.cache, source.model, source.source, index, Missing())
            return _missing(source, feature)
        answer = parse_feature(value, source.model, source.source, index)
        write_cached(self.cache, source.model, source.source, index, answer)
        return answer

    def _check(self, wanted: Sequence[Wanted]) -> dict[Wanted, bool]:
        """The answer leaves out what is unknown, and is not in the order asked: matched by its three ids."""
        if self.transport is None:
            raise Unreachable("the network is switched off")
        body = [
            # With 0, or without it, every activation of each feature comes along.
            {"modelId": source.model, "layer": source.source, "index": feature, "maxActsToReturn": 1}
            for source, feature in wanted
        ]
        value = ask(self.transport, Request("features", body))
        if not isinstance(value, list):
            raise NeuronpediaError(f"{self.transport.base_url}/features did not answer with a list")
        there = set(map(feature_key, value))
        return {one: (one[0].model, one[0].source, index_text(one[1])) in there for one in wanted}


def open_client(
    cache: Path | None = None, *, network: bool = True, base_url: str = API_URL, timeout_s: float = 20.0
) -> Client:
    """A client with its cache, by default in the user's cache folder.

    Args:
        network: False never opens a connection, and writes nothing.

    Raises:
        UserError: the cache cannot be written.
    """
    cache = cache or default_cache()
    if network:
        _check_writable(cache)
    transport = Transport(cache / "requests.json", base_url.rstrip("/"), timeout_s) if network else None
    return Client(cache, transport)


def _check_writable(cache: Path) -> None:
    """Neither the answers nor the hour's count of requests could be kept: better said before the first request."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(cache, os.W_OK) else "permission denied"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise UserError(
            f"the cache {cache} cannot be written ({reason}): point XDG_CACHE_HOME at a folder of yours, "
            "or use --no-network"
        )


def _missing(source: Source, feature: int) -> NoAnswer:
    return NoAnswer(f"Neuronpedia has no feature {feature} in {source.model}/{source.source}", missing=True)


def _exists(kept: FeatureAnswer | NoAnswer | None) -> bool | None:
    return None if kept is None else isinstance(kept, FeatureAnswer)


@dataclass(frozen=True)
class Missing:
    """Neuronpedia said that it has no such feature."""


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/saeattr/neuronpedia``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "saeattr" / "neuronpedia"


def read_cached(cache: Path, model: str, source: str, index: str) -> FeatureAnswer | Missing | None:
    """What is kept of a feature; None where nothing is, or the file is damaged."""
    try:
        value = read_json(read_file(cached_path(cache, model, source, index)))
        return Missing() if value == {"missing": True} else parse_feature(value, model, source, index)
    except (OSError, ValueError, NeuronpediaError):
        return None


def write_cached(cache: Path, model: str, source: str, index: str, answer: FeatureAnswer | Missing) -> None:
    """Keep an answer, whole or not at all.

    Raises:
        UserError: the cache cannot be written.
    """
    value = {"missing": True} if isinstance(answer, Missing) else feature_json(answer)
    write_text(cached_path(cache, model, source, index), json.dumps(value) + "\n")


def cached_path(cache: Path, model: str, source: str, index: str) -> Path:
    """Where a feature is kept; an id never leads out of the cache."""
    return cache / _folder(model) / _folder(source) / f"{index_text(index)}.json"


def _folder(name: str) -> str:
    plain = quote(name, safe="")
    return "%2E" + plain[1:] if plain.startswith(".") else plain
