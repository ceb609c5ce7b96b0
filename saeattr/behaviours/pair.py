"""A pair of prompts, token by token, with all that the stages know of it. Behaviours make them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from saeattr.errors import UserError

#: The role of the beginning-of-sequence token, whose activations are of another size than all others.
BOS = "bos"


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
    """A clean prompt and a corrupted one of as many tokens; one aligns with the other position by position.

    Attributes:
        group, pair_id: its address; ids are unique within a group.
        title: what a reader calls it.
        corrupted_ids: None where there is no corrupted prompt: features can then be patched to zero or their mean.
        points: in the order of positions; one at least.
        roles: what each position is for; ``bos`` is the only role that every behaviour shares.
        times: how often it was drawn. The same tokens drawn again are no new evidence, but they weigh in means.

    Raises:
        UserError: the prompts do not align, or a decision point lies outside.
    """

    group: str
    pair_id: str
    title: str
    clean_ids: tuple[int, ...]
    corrupted_ids: tuple[int, ...] | None
    points: tuple[Point, ...]
    roles: tuple[str, ...]
    times: int = 1

    def __post_init__(self) -> None:
        what = f"pair {self.pair_id} of {self.group!r}"
        if self.corrupted_ids is not None and len(self.corrupted_ids) != len(self.clean_ids):
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

    @property
    def evidence(self) -> tuple[object, ...]:
        """What two pairs share that are the same evidence: all tokens, and what is read of them."""
        return self.clean_ids, self.corrupted_ids, self.points

    @property
    def changed_positions(self) -> tuple[int, ...]:
        """Where the prompts differ; nothing without a corrupted one."""
        both = zip(self.clean_ids, self.corrupted_ids or self.clean_ids, strict=True)
        return tuple(at for at, (clean, corrupted) in enumerate(both) if clean != corrupted)


@dataclass(frozen=True)
class PairBatch:
    """Pairs padded on the right to one length; ``mask`` is True at real tokens.

    ``corrupted`` is None where any of the pairs has no corrupted prompt.
    """

    clean: Int[Tensor, "batch pos"]
    corrupted: Int[Tensor, "batch pos"] | None
    mask: Bool[Tensor, "batch pos"]


def pad_pairs(pairs: Sequence[Pair], pad_id: int, device: torch.device | str = "cpu") -> PairBatch:
    """Stack one or more pairs."""
    lengths = torch.tensor([len(pair.clean_ids) for pair in pairs])
    width = int(lengths.max())

    def stack(rows: list[tuple[int, ...]]) -> Int[Tensor, "batch pos"]:
        return torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows], device=device)

    corrupted = [pair.corrupted_ids for pair in pairs if pair.corrupted_ids is not None]
    return PairBatch(
        clean=stack([pair.clean_ids for pair in pairs]),
        corrupted=stack(corrupted) if len(corrupted) == len(pairs) else None,
        mask=(torch.arange(width) < lengths[:, None]).to(device),
    )


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
