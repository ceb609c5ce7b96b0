"""The stages that patch components between clean and corrupted runs, and that ask which heads carry the difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.patching.components import COMPONENTS, find_components, lacking
from saeattr.patching.group import DIRECTIONS, METHODS, Direction, Method, PatchPlan, patch_group
from saeattr.patching.heads import head_moves
from saeattr.patching.places import BY, BY_HEAD, By
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import HEAD_MOVES, PATCHING, Table

#: Pairs of a group that are patched, evenly taken over all there are.
MOST_PAIRS = 20
#: By gradient every component costs what one does, so all are stored.
EVERY = "all"
#: As ``--method`` takes it: ``both`` is for their agreement.
BOTH = "both"


@dataclass(frozen=True)
class Patching(Stage):
    """A component patched in every layer, or all of them by gradient, between clean and corrupted runs."""

    component: str = "resid_pre"
    by: By = "role"
    direction: Direction = "noising"
    method: Method = "exact"
    most_pairs: int = MOST_PAIRS

    name: ClassVar[str] = "patching"
    joined: ClassVar[tuple[Table, ...]] = (PATCHING,)
    opens_saes: ClassVar[bool] = False
    has_variants: ClassVar[bool] = True

    @property
    def variant(self) -> str:
        return f"{self.component}-{self.by}-{self.direction}-{self.method}"

    def run(self, work: Work) -> Outcome:
        pairs, told = patched_pairs(work, self.most_pairs)
        if not pairs:
            return Outcome(warnings=told)
        names = [name for name, one in COMPONENTS.items() if not lacking(one, work.task.lm)]
        if self.by in BY_HEAD:
            names = [name for name in names if COMPONENTS[name].heads != "none"]
        chosen = tuple(names) if self.component == EVERY else (self.component,)
        locations = dict(work.prepared.behaviour.locations)
        plan = PatchPlan(chosen, self.by, self.direction, self.method, locations)
        table = patch_group(dataclasses.replace(work.task, pairs=pairs), plan)
        unequal = sum(pair.partners is not None for pair in pairs)
        if unequal:
            told.append(
                f"{work.group}: {unequal} of {len(pairs)} pairs have unequal prompts: tokens without a partner are not "
                "patched there, nor are scores and patterns"
            )
        return Outcome({} if table.empty else {"patching": table}, warnings=told)


@dataclass(frozen=True)
class HeadMoves(Stage):
    """Which heads carry what differs between the prompts to where the metric is read."""

    most_pairs: int = MOST_PAIRS

    name: ClassVar[str] = "head_moves"
    joined: ClassVar[tuple[Table, ...]] = (HEAD_MOVES,)
    opens_saes: ClassVar[bool] = False

    def run(self, work: Work) -> Outcome:
        pairs, _ = patched_pairs(work, self.most_pairs)
        aligned = [pair for pair in pairs if pair.partners is None]
        if not aligned:
            return Outcome(warnings=[f"{work.group}: no pair is aligned one to one, so no head can be followed"])
        return Outcome({"head_moves": head_moves(dataclasses.replace(work.task, pairs=aligned))})


def patched_pairs(work: Work, most_pairs: int) -> tuple[list[Pair], list[str]]:
    """The pairs that can be patched, at most so many, evenly over all; and what a reader should know of the others."""
    pairs = [pair for pair in work.task.pairs if pair.corrupted_ids is not None]
    told = []
    if len(pairs) < len(work.task.pairs):
        alone = len(work.task.pairs) - len(pairs)
        told.append(f"{work.group}: {alone} of {len(work.task.pairs)} pairs have no corrupted prompt to patch from")
    if len(pairs) > most_pairs:
        told.append(f"{work.group}: {most_pairs} of {len(pairs)} pairs are patched (--most-pairs for more)")
        pairs = [pairs[at * len(pairs) // most_pairs] for at in range(most_pairs)]
    return pairs, told


def usual_components(by: str) -> list[str]:
    """What is patched where nothing is named."""
    return ["z", "pattern"] if by in BY_HEAD else ["resid_pre", "attn_out", "mlp_out"]


def patching_stages(
    components: Sequence[str],
    by: str = "role",
    direction: str = "noising",
    method: str = "exact",
    most_pairs: int = MOST_PAIRS,
) -> list[Patching]:
    """A stage for each component that is patched exactly, and one for all of them by gradient.

    Args:
        components: names, or ``all`` (by head: all that have heads).
        method: exact, attribution, or both.

    Raises:
        UserError: a name is unknown, or a component has no heads that could be told apart.
    """
    for what, value, known in (
        ("by", by, BY),
        ("direction", direction, DIRECTIONS),
        ("method", method, (*METHODS, BOTH)),
    ):
        if value not in known:
            raise UserError(f"--{what} cannot be {value!r}: choose one of {', '.join(known)}")
    if most_pairs < 1:
        raise UserError(f"--most-pairs cannot be {most_pairs}: patch at least one pair")
    names = [one.name for one in find_components(components)]
    if by in BY_HEAD and "all" in components:
        names = [name for name in names if COMPONENTS[name].heads != "none"]
    checked = PatchPlan(tuple(names), by, direction)  # pyright: ignore[reportArgumentType]
    checked.check()
    rest = (checked.by, checked.direction)
    exact = [Patching(name, *rest, "exact", most_pairs) for name in names if method != "attribution"]
    return exact + ([Patching(EVERY, *rest, "attribution", most_pairs)] if method != "exact" else [])
