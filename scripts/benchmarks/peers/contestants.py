"""Who takes part, in the order of the turns."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from importlib.metadata import version

from benchmarks.peers.by_hooks import Hooks
from benchmarks.peers.by_nnsight import Nnsight
from benchmarks.peers.by_sae_lens import SaeLens
from benchmarks.peers.case import Case
from benchmarks.peers.contestant import Contestant
from benchmarks.peers.floor import Floor
from benchmarks.peers.ours import Command, Core

#: By name: the contestant, and the package that it needs.
CONTESTANTS: dict[str, tuple[Callable[[Case], Contestant], str]] = {
    "core": (Core, "saeattr"),
    "nnsight": (Nnsight, "nnsight"),
    "command": (Command, "saeattr"),
    "nnsight dense": (functools.partial(Nnsight, dense=True), "nnsight"),
    "hooks": (Hooks, "transformer_lens"),
    "sae-lens": (SaeLens, "sae_lens"),
    "sae-lens at once": (functools.partial(SaeLens, at_once=True), "sae_lens"),
    "floor": (Floor, "torch"),
}
#: What they are called on the page.
LABELS = {
    "core": "saeattr, core",
    "nnsight": "nnsight, tuned",
    "command": "saeattr, command",
    "nnsight dense": "nnsight, dense",
    "hooks": "transformer-lens hooks",
    "sae-lens": "sae-lens, one pass per SAE",
    "sae-lens at once": "sae-lens, all SAEs at once",
    "floor": "floor",
}


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(CONTESTANTS[name][1]) is not None


def versions() -> dict[str, str]:
    """Of the peers that are installed, and of what all stand on."""
    packages = ["nnsight", "sae-lens", "transformer-lens", "transformers", "torch"]
    return {name: version(name) for name in packages if importlib.util.find_spec(name.replace("-", "_"))}
