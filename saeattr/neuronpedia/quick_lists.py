"""Quick lists: a Neuronpedia page for many features, whose address names them all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

from saeattr.neuronpedia.client import Wanted
from saeattr.neuronpedia.urls import SITE_URL, index_text

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
        urls.append(f"{SITE_URL}/quick-list?name={quote(heading, safe='')}&features={features}")
    return urls
