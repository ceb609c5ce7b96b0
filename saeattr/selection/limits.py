"""What the chosen SAEs may take, and how that is said: the options, and amounts that read back to the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from saeattr.runs.memory import megabytes
from saeattr.settings import flag

#: Units in which an amount is said, the largest first that leaves no rest.
UNITS = {"GiB": 2**30, "GB": 10**9, "MiB": 2**20, "MB": 10**6, "KiB": 2**10}


@dataclass(frozen=True)
class Limits:
    """What the chosen SAEs may take; None is no limit.

    Attributes:
        budget_bytes: of memory, for all of them together in float32.
        most: the largest number of sites.
        download_bytes: of files from the hub, for all of them together in float32, whether or not some are here.
        vram_bytes: the whole memory of which ``budget_bytes`` are left for SAEs, where that is known.
    """

    budget_bytes: int | None = None
    most: int | None = None
    download_bytes: int | None = None
    vram_bytes: int | None = None

    @property
    def bytes(self) -> int | None:
        """The tighter one of both amounts: they are of the same SAEs."""
        return min((n for n in (self.budget_bytes, self.download_bytes) if n is not None), default=None)

    @property
    def texts(self) -> dict[str, str]:
        """What each setting would have to say; of the memory, the whole."""
        return {
            "max_sites": "all" if self.most is None else str(self.most),
            "download": "all" if self.download_bytes is None else amount(self.download_bytes),
            "vram": "all" if self.vram_bytes is None else amount(self.vram_bytes),
        }

    @property
    def options(self) -> list[str]:
        """``--max-sites 4``, ``--download 4GiB``: those that limit anything."""
        return [f"{flag(name)} {text}" for name, text in self.texts.items() if text != "all"]

    def exceeded(self, n_sites: int, n_bytes: int) -> Iterator[str]:
        """The settings (``max_sites``, ``download``, ``vram``) within which so many sites and bytes are not."""
        if self.most is not None and n_sites > self.most:
            yield "max_sites"
        if self.download_bytes is not None and n_bytes > self.download_bytes:
            yield "download"
        if self.budget_bytes is not None and n_bytes > self.budget_bytes:
            yield "vram"

    def said(self, name: str) -> str:
        """A limit in words, to follow ``within``."""
        if name == "max_sites":
            return f"{self.most} {'site' if self.most == 1 else 'sites'} ({flag(name)})"
        if name == "download":
            return f"{megabytes(self.download_bytes or 0)} of SAEs from the hub ({flag(name)})"
        left = f"{megabytes(self.budget_bytes or 0)} of SAEs"
        return left if self.vram_bytes is None else f"{left}, which {flag(name)} {amount(self.vram_bytes)} leaves"


def amount(n_bytes: int) -> str:
    """``4GiB``, ``24GB``, ``1536MiB``: exactly, as ``parse_bytes`` reads it."""
    for name, unit in UNITS.items():
        if n_bytes and n_bytes % unit == 0:
            return f"{n_bytes // unit}{name}"
    return str(n_bytes)
