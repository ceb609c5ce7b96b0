"""Answers kept on disk, one small JSON file a feature, in Neuronpedia's own field names."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from saeattr.neuronpedia.answers import FeatureAnswer, NeuronpediaError, feature_json, parse_feature
from saeattr.neuronpedia.urls import index_text
from saeattr.store import write_text


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
        value = json.loads(cached_path(cache, model, source, index).read_text(encoding="utf-8"))
        return Missing() if value == {"missing": True} else parse_feature(value, model, source, index)
    except (OSError, ValueError, RecursionError, NeuronpediaError):
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
