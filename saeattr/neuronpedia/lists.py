"""Lists on Neuronpedia: made with the user's key, filled in parts, and shown beforehand as exact requests."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from saeattr.errors import UserError
from saeattr.neuronpedia.answers import NeuronpediaError
from saeattr.neuronpedia.client import Wanted
from saeattr.neuronpedia.source import SITE_URL, Source, index_text
from saeattr.neuronpedia.transport import Request, Transport, ask

KEY_VARIABLE = "NEURONPEDIA_API_KEY"
#: So many features are added in one request (its API's own limit, August 2026).
ADDED_AT_ONCE = 100
#: Stands for the id that the first request's answer gives.
LIST_ID = "ID_OF_THE_NEW_LIST"


@dataclass(frozen=True)
class ListItem:
    """A feature in a list, and what the list says of it."""

    source: Source
    feature: int
    description: str


def read_key() -> str:
    """The API key from the environment; it is in no message, file or repr.

    Raises:
        UserError: there is none, or it has characters that no key has.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise UserError(
            f"a list is made with your Neuronpedia key: set {KEY_VARIABLE} (your account page there shows it), "
            "or look at the requests with --dry-run"
        )
    # http.client would print the header that it refuses.
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(f"{KEY_VARIABLE} is not a key: it has blanks or other characters that no key has")
    return key


def list_requests(name: str, description: str, items: Sequence[ListItem]) -> list[Request]:
    """The requests that make a list and fill it, without a key; ``LIST_ID`` stands for the new list's id.

    A feature is added once: Neuronpedia refuses one that is there already.

    Raises:
        UserError: the list has no name, or nothing would be in it.
    """
    if not name.strip():
        raise UserError("a list needs a name: write --make-list NAME")
    if not items:
        raise UserError("no feature of this study is known to be on Neuronpedia, so there is no list to make")
    requests = [Request("list/new", {"name": name, "description": description}, repeatable=False)]
    distinct = list({(item.source, item.feature): item for item in items}.values())
    for start in range(0, len(distinct), ADDED_AT_ONCE):
        features = [
            {
                "modelId": item.source.model,
                "layer": item.source.source,
                "index": index_text(item.feature),
                "description": item.description,
            }
            for item in distinct[start : start + ADDED_AT_ONCE]
        ]
        body = {"listId": LIST_ID, "featuresToAdd": features}
        requests.append(Request("list/add-features", body, repeatable=False))
    return requests


def send_list(transport: Transport, requests: Sequence[Request], key: str) -> str:
    """Make the list and fill it.

    Returns:
        the address of its page.

    Raises:
        NeuronpediaError: it could not be made, or not filled (with its address, and how much is in it).
    """
    first, *rest = requests
    value = ask(transport, replace(first, key=key))
    pair_id = _new_id(value)
    url = f"{SITE_URL}/list/{quote(pair_id, safe='')}"
    added = 0
    for request in rest:
        body = {**request.body, "listId": pair_id}
        try:
            ask(transport, replace(request, body=body, key=key))
        except NeuronpediaError as error:
            total = sum(len(one.body["featuresToAdd"]) for one in rest)
            raise NeuronpediaError(
                f"the list {url} was made, but {added} of its {total} features were added: {error}"
            ) from error
        added += len(body["featuresToAdd"])
    return url


def request_text(base_url: str, request: Request) -> str:
    """A request as it goes out, with the name of the key's variable in place of the key."""
    lines = [f"POST {base_url}/{request.path}", "Content-Type: application/json", f"x-api-key: ${KEY_VARIABLE}", ""]
    return "\n".join([*lines, json.dumps(request.body)])


def _new_id(value: Any) -> str:
    pair_id = value.get("id") if isinstance(value, dict) else None
    if not isinstance(pair_id, str) or not re.fullmatch(r"[!-~]{1,200}", pair_id):
        raise NeuronpediaError("Neuronpedia did not say the new list's id: look for it among the lists of your account")
    return pair_id


#: The page takes no more features (its app/quick-list/page.tsx, August 2026).
QUICK_LIST_SIZE = 150


def quick_list_urls(name: str, known: Sequence[Wanted]) -> list[str]:
    """Addresses of quick lists over all features, in order, each of at most ``QUICK_LIST_SIZE``.

    Args:
        name: the page's heading; with several pages, each says which part it is.
        known: features that Neuronpedia is known to have: a single unknown one makes the whole page fail.
    """
    distinct = list(dict.fromkeys(known))
    parts = [distinct[start : start + QUICK_LIST_SIZE] for start in range(0, len(distinct), QUICK_LIST_SIZE)]
    urls = []
    for number, part in enumerate(parts, start=1):
        heading = name if len(parts) == 1 else f"{name} ({number} of {len(parts)})"
        items = [
            {"modelId": source.model, "layer": source.source, "index": index_text(feature)} for source, feature in part
        ]
        features = quote(json.dumps(items, separators=(",", ":")), safe="")
        urls.append(f"{SITE_URL}/quick-list?name={quote(heading, safe='', errors='replace')}&features={features}")
    return urls
