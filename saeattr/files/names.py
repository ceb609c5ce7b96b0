"""Names of groups in file names."""

from __future__ import annotations

import hashlib
import re

LONGEST_SLUG = 60


def slug(name: str) -> str:
    """A group's name in file names: lower-case ASCII letters, digits and hyphens, and different for different names.

    Where these alone would not tell the name from another one, ``_`` and a hash of the name follow.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    # Only a name that is spelt out in full goes without a hash: no two of those share a slug.
    if plain and name == plain.replace("-", " ") and len(plain) <= LONGEST_SLUG:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{plain[:LONGEST_SLUG] or 'group'}_{digest}"
