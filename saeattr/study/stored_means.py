"""What a shard adds to its group's means, as a file that other processes read."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from saeattr.attribution.means import ShardSums
from saeattr.files import fault, replacing
from saeattr.sites import parse_site


def write_sums_of(path: Path, sums: ShardSums) -> None:
    """Write a shard's sums whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    tensors = {f"{name} {site}": value for name in ("x", "f") for site, value in getattr(sums, name).items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"n_tokens": str(sums.n_tokens)})


def read_sums_of(path: Path) -> ShardSums | None:
    """A shard's sums; None where they are not there, or damaged."""
    if fault(path) is not None:
        return None
    try:
        with safe_open(path, "pt") as file:
            n_tokens = int((file.metadata() or {})["n_tokens"])
            named = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    of = {kind: {parse_site(name[2:]): value for name, value in named.items() if name[0] == kind} for kind in "xf"}
    return ShardSums(n_tokens, of["x"], of["f"])
