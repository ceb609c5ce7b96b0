"""Which measurements there are: how time and memory grow with sites, lists and the SAEs' width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers.case import Shape, all_sites, layers_of, resid_sites
from saeattr.sites import Site

BASE, DEEP = (12, 768), (26, 384)
#: Contestants of most settings, in turn.
ALL = ("core", "nnsight", "command", "nnsight dense", "hooks", "sae-lens", "floor")
NOT_BY_SAE = tuple(name for name in ALL if name != "sae-lens")


@dataclass(frozen=True)
class Setting:
    """One measurement of time.

    Attributes:
        axis: what grows: ``sites``, ``lists`` or ``width``; one setting may stand on several.
        rounds: turns of every contestant.
        memory: contestants whose peak memory is measured too, each in a process of its own.
    """

    name: str
    axes: tuple[str, ...]
    shape: Shape
    n_lists: int = 10
    contestants: tuple[str, ...] = ALL
    rounds: int = 3
    memory: tuple[str, ...] = ()


def base(sites: int, d_sae: int = 16_384) -> Shape:
    return Shape(f"{sites} sites", *BASE, resid_sites(layers_of(sites, BASE[0])), d_sae)


def deep(sites: tuple[Site, ...]) -> Shape:
    return Shape(f"{len(sites)} sites", *DEEP, sites)


def full_settings(rounds: int) -> list[Setting]:
    """About 20 minutes on a quiet core."""
    few = max(1, rounds - 1)
    peaks = ("core", "nnsight", "command", "sae-lens")
    return [
        Setting("3 sites", ("sites", "lists"), base(3), rounds=rounds, memory=("core",)),
        Setting("1 site", ("sites", "width"), base(1), rounds=rounds, memory=peaks),
        Setting("1 list", ("lists",), base(3), n_lists=1, rounds=rounds),
        Setting("4k wide", ("width",), base(1, 4096), rounds=rounds),
        Setting("64k wide", ("width",), base(1, 65_536), rounds=few, memory=peaks),
        Setting("12 sites", ("sites",), base(12), rounds=few, memory=(*peaks, "sae-lens at once")),
        Setting("26 sites", ("sites",), deep(resid_sites(range(26))), rounds=few, memory=("core",)),
        Setting(
            "78 sites",
            ("sites",),
            deep(all_sites(DEEP[0])),
            contestants=NOT_BY_SAE,
            rounds=few,
            memory=("core", "command"),
        ),
        Setting("100 lists", ("lists",), base(3), n_lists=100, rounds=1, memory=("core", "nnsight")),
    ]


def quick_settings() -> list[Setting]:
    """A tiny model: does it run?"""
    one, three = (Shape(f"{n} sites", 3, 48, resid_sites(layers_of(n, 3)), 256) for n in (1, 3))
    return [
        Setting("1 site", ("sites",), one, n_lists=2, rounds=1, memory=("core",)),
        Setting("3 sites", ("sites", "lists"), three, n_lists=2, rounds=1),
    ]


def find_setting(settings: Sequence[Setting], name: str) -> Setting:
    return next(setting for setting in settings if setting.name == name)
