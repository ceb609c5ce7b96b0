"""How many requests went out in the last hour, remembered in a file: the limit is per address, not per run."""

from __future__ import annotations

import json
from pathlib import Path

from saeattr.store import write_text

#: Neuronpedia's limit for each address and 60 minutes, over all of what is used here (its middleware.ts, August 2026).
HOURLY_LIMIT = 25_000
WINDOW_MINUTES = 60


def spend_request(path: Path, now: float, limit: int = HOURLY_LIMIT) -> int:
    """Count one request at ``now`` (seconds), unless the hour is used up.

    Returns:
        0 if it may go out; else the minutes until one may.
    """
    minute = int(now // 60)
    counts = {at: count for at, count in _read(path).items() if minute - WINDOW_MINUTES <= at <= minute}
    if sum(counts.values()) >= limit:
        return min(counts) + WINDOW_MINUTES + 1 - minute
    counts[minute] = counts.get(minute, 0) + 1
    write_text(path, json.dumps(counts) + "\n")
    return 0


def _read(path: Path) -> dict[int, int]:
    """Requests by minute; nothing where the file is missing or damaged."""
    try:
        counts = json.loads(path.read_text(encoding="utf-8"))
        return {int(minute): int(count) for minute, count in counts.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
