"""What a shard adds to its group's means, as a file that other processes read, with its own SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saeattr.attribution.means import ShardSums
from saeattr.files import replacing
from saeattr.sites import parse_site


def write_sums_of(path: Path, sums: ShardSums) -> None:
    """Write a shard's sums whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    tensors = {f"{name} {site}": value for name in ("x", "f") for site, value in getattr(sums, name).items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"n_tokens": str(sums.n_tokens), "sha256": _sha256(sums.n_tokens, tensors)})


def read_sums_of(path: Path) -> ShardSums | None:
    """A shard's sums; None where they are not there, or damaged: they are made again."""
    try:
        with safe_open(path, "pt") as file:
            known = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        n_tokens = int(known["n_tokens"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    if known.get("sha256") != _sha256(n_tokens, tensors):
        return None
    of = {kind: {parse_site(name[2:]): value for name, value in tensors.items() if name[0] == kind} for kind in "xf"}
    return ShardSums(n_tokens, of["x"], of["f"])


def _sha256(n_tokens: int, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(str(n_tokens).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
