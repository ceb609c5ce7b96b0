"""A pair of prompts, token by token, with all that the stages know of it. Behaviours make them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from saeattr.errors import UserError
from saeattr.model.prompts import Prompts

#: The role of the beginning-of-sequence token, whose activations are of another size than all others.
BOS = "bos"
#: Stands for the token that a clean one has no partner in.
NO_PARTNER = "∅"
#: The role of the positions at which the metric is read, whatever else they are.
DECISION = "decision"


@dataclass(frozen=True)
class Point:
    """A decision point: the model has read up to ``position`` and decides between tokens.

    Attributes:
        wanted, unwanted: the token ids that a metric contrasts there.
        weight: its part of the mean over a pair's points (``decision="all"``), against 1 of the others.
    """

    position: int
    wanted: tuple[int, ...]
    unwanted: tuple[int, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Pair:
    """A clean prompt and a corrupted one; each token of the first has its partner in the second, or none.

    Attributes:
        group, pair_id: its address; ids are unique within a group.
        title: what a reader calls it.
        corrupted_ids: None where there is no corrupted prompt: features can then be patched to zero or their mean.
        points: in the order of positions; one at least.
        roles: what each position is for; ``bos`` is the only role that every behaviour shares.
        times: how often it was drawn. The same tokens drawn again are no new evidence, but they weigh in means.
        partners: by clean position that of the corrupted prompt, -1 for none; None where both have equally many tokens
            and align one to one. A feature without a partner is patched to zero there.
        branches: by clean position 0 for the prompt, 1 for its first continuation, 2 for its second, which does not see
            the first; None where it has one at most.
        whole: its points make one decision together, such as the tokens of a continuation: the metric adds them up.

    Raises:
        UserError: the prompts do not align, or a decision point lies outside or has no partner.
    """

    group: str
    pair_id: str
    title: str
    clean_ids: tuple[int, ...]
    corrupted_ids: tuple[int, ...] | None
    points: tuple[Point, ...]
    roles: tuple[str, ...]
    times: int = 1
    partners: tuple[int, ...] | None = None
    branches: tuple[int, ...] | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        what = f"pair {self.pair_id} of {self.group!r}"
        aligned = self.clean_ids if self.partners is None else self.corrupted_ids
        if self.corrupted_ids is not None and len(self.corrupted_ids) != len(aligned or ()):
            raise UserError(
                f"{what} has {len(self.clean_ids)} clean and {len(self.corrupted_ids)} corrupted tokens: "
                "both prompts must have equally many"
            )
        if self.corrupted_ids == self.clean_ids:
            raise UserError(f"{what} has the same clean and corrupted tokens: change one of the prompts")
        if len(self.roles) != len(self.clean_ids):
            raise UserError(f"{what} has {len(self.roles)} roles for {len(self.clean_ids)} tokens: name one for each")
        if not self.points or not all(0 <= point.position < len(self.clean_ids) for point in self.points):
            raise UserError(f"{what} needs decision points, each at one of its {len(self.clean_ids)} tokens")
        if self.partners is not None and any(self.partners[point.position] < 0 for point in self.points):
            raise UserError(f"{what} is read at a token that the corrupted prompt does not have: read it elsewhere")

    @property
    def evidence(self) -> tuple[object, ...]:
        """What two pairs share that are the same evidence: all tokens, and what is read of them."""
        return self.clean_ids, self.corrupted_ids, self.points

    @property
    def partner_ids(self) -> tuple[int | None, ...]:
        """The corrupted prompt's token beside each of the clean one; None where it has none there."""
        corrupted = self.corrupted_ids
        if corrupted is None:
            return (None,) * len(self.clean_ids)
        partners = range(len(corrupted)) if self.partners is None else self.partners
        return tuple(corrupted[at] if at >= 0 else None for at in partners)

    @property
    def changed_positions(self) -> tuple[int, ...]:
        """Where the clean prompt has another token than its partner, or no partner; nothing without a corrupted one."""
        if self.corrupted_ids is None:
            return ()
        both = zip(self.clean_ids, self.partner_ids, strict=True)
        return tuple(at for at, (clean, partner) in enumerate(both) if clean != partner)

    @property
    def first_change(self) -> int:
        """The first position at which the runs can differ: what comes before is the same in both prompts."""
        corrupted = self.corrupted_ids or ()
        both = enumerate(zip(self.clean_ids, corrupted, strict=False))
        return next((at for at, (one, other) in both if one != other), min(len(self.clean_ids), len(corrupted)))


def swap_prompts(pair: Pair) -> Pair:
    """The same pair with its corrupted prompt as the clean one, read at the partners of its decision points.

    A token of it that has no partner has the role ``other``. The pair must have a corrupted prompt.
    """
    assert pair.corrupted_ids is not None
    swapped: dict[str, Any] = {"clean_ids": pair.corrupted_ids, "corrupted_ids": pair.clean_ids}
    if pair.partners is None:
        return dataclasses.replace(pair, **swapped)
    back = [-1] * len(pair.corrupted_ids)
    for at, partner in enumerate(pair.partners):
        if partner >= 0:
            back[partner] = at
    return dataclasses.replace(
        pair,
        **swapped,
        partners=tuple(back),
        roles=tuple(pair.roles[at] if at >= 0 else "other" for at in back),
        points=tuple(dataclasses.replace(point, position=pair.partners[point.position]) for point in pair.points),
        branches=None if pair.branches is None else tuple(_corrupted_branches(pair)),
    )


@dataclass(frozen=True)
class PairBatch:
    """Pairs padded on the right, the clean prompts to one length and the corrupted ones to another.

    Attributes:
        corrupted: None where any of the pairs has no corrupted prompt.
        partner: by clean position that of the corrupted prompt, -1 for none; None where all pairs align one to one.
    """

    clean: Prompts
    corrupted: Prompts | None
    partner: Int[Tensor, "batch pos"] | None = None


def pad_pairs(pairs: Sequence[Pair], pad_id: int, device: torch.device | str = "cpu") -> PairBatch:
    """Stack one or more pairs."""
    branched = any(pair.branches is not None for pair in pairs)

    def stack(rows: Sequence[Sequence[int]], fill: int) -> Int[Tensor, "batch pos"]:
        width = max(map(len, rows))
        return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], device=device)

    def prompts(rows: Sequence[Sequence[int]], branches: Sequence[Sequence[int]]) -> Prompts:
        mask = stack([[1] * len(row) for row in rows], 0).bool()
        return Prompts(stack(rows, pad_id), mask, stack(branches, 0) if branched else None)

    own = [pair.branches or (0,) * len(pair.clean_ids) for pair in pairs]
    clean = prompts([pair.clean_ids for pair in pairs], own)
    ids = [pair.corrupted_ids for pair in pairs if pair.corrupted_ids is not None]
    if len(ids) < len(pairs):
        return PairBatch(clean, None)
    corrupted = prompts(ids, [_corrupted_branches(pair) for pair in pairs])
    if all(pair.partners is None for pair in pairs):
        return PairBatch(clean, corrupted)
    partners = [range(len(pair.clean_ids)) if pair.partners is None else pair.partners for pair in pairs]
    return PairBatch(clean, corrupted, stack(partners, -1))


def _corrupted_branches(pair: Pair) -> list[int]:
    """The branches of the corrupted prompt: those of the clean tokens that they are partners of."""
    branches = [0] * len(pair.corrupted_ids or ())
    partners = range(len(branches)) if pair.partners is None else pair.partners
    for branch, at in zip(pair.branches or (0,) * len(pair.clean_ids), partners, strict=True):
        if at >= 0:
            branches[at] = branch
    return branches


def chunks(pairs: Sequence[Pair], size: int) -> Iterator[list[Pair]]:
    """The pairs in order, at most ``size`` at a time."""
    for start in range(0, len(pairs), size):
        yield list(pairs[start : start + size])


def by_group(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """The pairs of each group, groups in the order in which they come first."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.group, []).append(pair)
    return groups


def distinct_pairs(pairs: Sequence[Pair], known: Sequence[Pair] = ()) -> list[Pair]:
    """Each pair once, the first of those with the same evidence, with how often it came.

    Args:
        known: pairs whose evidence is used already: what equals one of them is left out.
    """
    times: Counter[tuple[object, ...]] = Counter()
    first: dict[tuple[object, ...], Pair] = {}
    used = {pair.evidence for pair in known}
    for pair in pairs:
        if pair.evidence not in used:
            times[pair.evidence] += pair.times
            first.setdefault(pair.evidence, pair)
    return [dataclasses.replace(pair, times=times[evidence]) for evidence, pair in first.items()]


def halves(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Two halves of pairs of one group that share no changed tokens where that can be had.

    Pairs whose prompts differ in the same tokens (two phrasings of one fact) stay together: what one half ranks, the
    other is not to have seen. The pairs of such families go to the smaller half, the largest families first. Where all
    pairs differ in the same tokens, every second one goes to the other half.
    """
    families: dict[tuple[int, ...], list[Pair]] = {}
    for pair in pairs:
        families.setdefault(tuple(pair.clean_ids[at] for at in pair.changed_positions), []).append(pair)
    if len(families) < 2:
        return list(pairs[::2]), list(pairs[1::2])
    chosen: tuple[set[str], set[str]] = (set(), set())
    for family in sorted(families.values(), key=len, reverse=True):
        min(chosen, key=len).update(pair.pair_id for pair in family)
    first, second = ([pair for pair in pairs if pair.pair_id in ids] for ids in chosen)
    return first, second
