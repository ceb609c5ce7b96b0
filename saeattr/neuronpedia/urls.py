"""Addresses on Neuronpedia: a feature's page, its embedded form, its data."""

from __future__ import annotations

from urllib.parse import quote

from saeattr.errors import UserError

SITE_URL = "https://www.neuronpedia.org"
API_URL = f"{SITE_URL}/api"


def index_text(feature: int | str) -> str:
    """A feature's index as Neuronpedia compares it: a string of digits, without leading zeros.

    Raises:
        UserError: it is not a whole number from zero up.
    """
    text = str(feature)
    if isinstance(feature, bool) or not (text.isascii() and text.isdigit()):
        raise UserError(f"{feature!r} is not a feature's index: it is a whole number from 0 up")
    return str(int(text))


def feature_url(model: str, source: str, feature: int | str) -> str:
    """The page of a feature, e.g. ``https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/16323``."""
    return f"{SITE_URL}/{_path(model, source, feature)}"


def embed_url(model: str, source: str, feature: int | str) -> str:
    """The page of a feature for an iframe, with all its parts (Neuronpedia leaves out those switched off by name)."""
    return f"{feature_url(model, source, feature)}?embed=true"


def api_url(model: str, source: str, feature: int | str, base_url: str = API_URL) -> str:
    """Where a feature's JSON lies."""
    return f"{base_url}/feature/{_path(model, source, feature)}"


def _path(model: str, source: str, feature: int | str) -> str:
    return f"{quote(model, safe='')}/{quote(source, safe='')}/{index_text(feature)}"
