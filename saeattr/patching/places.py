"""Which positions are patched together: those of a role or a location, all of them, or one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool
from torch import Tensor

from saeattr.runs.batch import BatchRuns, effect_tokens
from saeattr.runs.roles import position_roles

#: How effects are told apart: by position role, by head (all positions), by both, or token by token.
By = Literal["role", "head", "head-role", "token"]
BY: tuple[By, ...] = get_args(By)
#: Those that tell heads apart.
BY_HEAD: tuple[By, ...] = ("head", "head-role")
#: The place of every position that can have an effect.
EVERYWHERE = "all positions"
#: In place of a position, where a place has several.
NO_POSITION = -1


@dataclass(frozen=True)
class Place:
    """Positions of one row of a batch.

    Attributes:
        name: the role, the location, or ``EVERYWHERE``; position: of a single token, else ``NO_POSITION``.
        joint: its positions are those of other places too.
    """

    row: int
    name: str
    mask: Bool[Tensor, " pos"]
    position: int = NO_POSITION
    joint: bool = False


def find_places(batch: BatchRuns, by: By, locations: Mapping[str, Sequence[str]]) -> list[Place]:
    """The places of every row that have a position at which a patch can change the metric.

    Left out of every place: BOS, what comes before the first token that differs or after the last decision point, and
    tokens without a partner in the other prompt. A place without positions is no place of that row.

    Args:
        locations: roles by what they are called together; where the metric is read it is ``decision`` alone.
    """
    chosen = effect_tokens(batch, "corrupted")
    if batch.has_partner is not None:
        chosen &= batch.has_partner
    places = []
    for row, roles in enumerate(position_roles(batch)):
        if by == "token":
            places += [_single(row, at, roles[at], chosen[row]) for at in chosen[row].nonzero()[:, 0].tolist()]
            continue
        if by != "head":
            places += [Place(row, role, _those(chosen[row], roles, (role,))) for role in dict.fromkeys(roles)]
            places += [Place(row, name, _those(chosen[row], roles, own), joint=True) for name, own in locations.items()]
        if by != "head-role":
            places.append(Place(row, EVERYWHERE, chosen[row], joint=by == "role"))
    return [place for place in places if place.mask.any()]


def _those(chosen: Bool[Tensor, " pos"], roles: Sequence[str], wanted: Sequence[str]) -> Bool[Tensor, " pos"]:
    mask = chosen.clone()
    mask[: len(roles)] &= torch.tensor([role in wanted for role in roles], device=mask.device)
    return mask


def _single(row: int, position: int, role: str, chosen: Bool[Tensor, " pos"]) -> Place:
    mask = torch.zeros_like(chosen)
    mask[position] = True
    return Place(row, role, mask, position)
