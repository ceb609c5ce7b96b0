"""Moves of x at one site: a fact's features set to another entity's, and controls that are as long, token by token.

f(x) are the SAE's activations, and x_hat is linear in them, so setting features i to their values in the corrupted run
moves x by sum_i (f_i(corrupted) - f_i(clean)) W_dec[i] and keeps the error term. With all features that is
x_hat(corrupted) - x_hat(clean). Controls are scaled to its length at each token:

| towards | direction |
| --- | --- |
| same-relation | x_hat(corrupted) of a fact of this relation with a third answer, minus this fact's x_hat(clean) |
| other-relation | the same, of a fact of another relation |
| random-features | the same changes given to other features that are active at the site (``stand_in_move``) |
| activation | x(corrupted) - x(clean), unscaled: the ceiling, error term and all |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeattr.behaviours.pair import Pair
from saeattr.recall.facts.check import entity_positions
from saeattr.runs.base import token_chunks
from saeattr.runs.batch import BatchRuns
from saeattr.saes.sae import SparseAutoencoder
from saeattr.validation.controls import stand_in_move

ENTITY, FINAL = "entity", "final"
PLACES = (ENTITY, FINAL)
FEATURES, SAME, OTHER, RANDOM, ACTIVATION = (
    "features",
    "same-relation",
    "other-relation",
    "random-features",
    "activation",
)
#: In place of a number of features.
ALL = -1


@dataclass(frozen=True)
class PlaceTokens:
    """The tokens of all facts at one place, fact by fact.

    Attributes:
        batch, row, position: where each token stands in the runs.
        fact: whose it is, by its number over all batches; tokens of a fact follow each other.
    """

    batch: Int[Tensor, " tokens"]
    row: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]
    fact: Int[Tensor, " tokens"]

    @property
    def n_facts(self) -> int:
        return int(self.fact[-1]) + 1

    def of_fact(self, fact: int) -> slice:
        """The tokens of one fact."""
        ends = torch.searchsorted(self.fact, torch.tensor([fact, fact + 1]))
        return slice(int(ends[0]), int(ends[1]))


@dataclass(frozen=True)
class SiteMoves:
    """What moves the facts at one site and place, at strength 1.

    Attributes:
        towards, n_features: of each way.
        move: 0 for a fact that has no such move (``there``).
        n_moved: features that change; -1 where none are set.
    """

    towards: tuple[str, ...]
    n_features: tuple[int, ...]
    move: Float[Tensor, "ways tokens d_in"]
    there: Bool[Tensor, "ways facts"]
    n_moved: Int[Tensor, "ways facts"]


def place_tokens(batches: Sequence[BatchRuns], place: str) -> PlaceTokens:
    """Where the entity's tokens, or the position at which the answer is read, stand in the runs."""
    pairs = [(nth, row, pair) for nth, batch in enumerate(batches) for row, pair in enumerate(batch.pairs)]
    places = [
        (nth, row, position, fact)
        for fact, (nth, row, pair) in enumerate(pairs)
        for position in (entity_positions(pair) if place == ENTITY else (pair.points[0].position,))
    ]
    return PlaceTokens(*torch.tensor(places, dtype=torch.long).T.contiguous())


def other_facts(pairs: Sequence[Pair], seed: int) -> dict[str, list[int | None]]:
    """For each fact another one of its relation, and one of another relation, whose corrupted answer is a third one.

    The same at every site and place. None where the battery has no such fact.
    """
    answers = np.array([(pair.points[0].wanted[0], pair.points[0].unwanted[0]) for pair in pairs])
    groups = np.array([pair.group for pair in pairs])
    found: dict[str, list[int | None]] = {SAME: [], OTHER: []}
    for fact, pair in enumerate(pairs):
        third = ~np.isin(answers[:, 1], answers[fact])
        source = np.random.default_rng([seed, fact])
        for name, related in ((SAME, groups == pair.group), (OTHER, groups != pair.group)):
            candidates = np.flatnonzero(third & related)
            found[name].append(int(source.choice(candidates)) if len(candidates) else None)
    return found


@torch.no_grad()
def site_moves(
    sae: SparseAutoencoder,
    batches: Sequence[BatchRuns],
    tokens: PlaceTokens,
    others: dict[str, list[int | None]],
    sizes: Sequence[int],
    seed: int,
) -> SiteMoves:
    """Every move of every fact at one site and place.

    Args:
        others: as ``other_facts`` draws them.
        sizes: numbers of features; all of them are set beside.
    """
    clean, corrupted = (_activations(sae, batches, tokens, which) for which in ("clean", "corrupted"))
    (hat_clean, active), (hat_corrupted, also) = (_reconstruct(sae, x) for x in (clean, corrupted))
    pool = torch.nonzero(active | also)[:, 0]
    ways = [(FEATURES, ALL), *((FEATURES, size) for size in sizes), *((name, ALL) for name in (SAME, OTHER, RANDOM))]
    move = clean.new_zeros(len(ways) + 1, *clean.shape)
    n_moved = torch.full((len(ways) + 1, tokens.n_facts), -1)
    there = torch.ones(len(ways) + 1, tokens.n_facts, dtype=torch.bool)
    for fact in range(tokens.n_facts):
        own = tokens.of_fact(fact)
        change = sae.encode(corrupted[own]) - sae.encode(clean[own])
        order = _by_size(sae, change)
        source = np.random.default_rng([seed, *map(ord, str(sae.site)), fact])
        whole = change[:, order] @ sae.W_dec[order]
        for at, (name, size) in enumerate(ways):
            if name == FEATURES:
                some = order if size == ALL else order[:size]
                move[at, own], n_moved[at, fact] = change[:, some] @ sae.W_dec[some], len(some)
                continue
            aside = _random_move(sae, change, order, pool, source) if name == RANDOM else None
            if name != RANDOM and (other := others[name][fact]) is not None:
                aside = _beside(hat_corrupted, tokens.of_fact(other), own) - hat_clean[own]
            there[at, fact] = aside is not None
            if aside is not None:
                move[at, own] = _as_long(aside, whole)
    move[-1] = corrupted - clean
    names, counts = zip(*ways, (ACTIVATION, ALL), strict=True)
    return SiteMoves(names, counts, move, there, n_moved)


def _activations(
    sae: SparseAutoencoder, batches: Sequence[BatchRuns], tokens: PlaceTokens, which: str
) -> Float[Tensor, "tokens d_in"]:
    """x at the tokens, of the clean or of the corrupted runs, in float32."""
    parts = []
    for nth, batch in enumerate(batches):
        run = batch.clean if which == "clean" else batch.corrupted
        assert run is not None
        own = tokens.batch == nth
        parts.append(run.x[sae.site][tokens.row[own], tokens.position[own]].float())
    return torch.cat(parts)


def _reconstruct(
    sae: SparseAutoencoder, x: Float[Tensor, "tokens d_in"]
) -> tuple[Float[Tensor, "tokens d_in"], Bool[Tensor, " d_sae"]]:
    """x_hat, and which features are active at some token."""
    active = torch.zeros(sae.d_sae, dtype=torch.bool, device=x.device)
    parts = []
    for chunk in token_chunks(sae, len(x)):
        f = sae.encode(x[chunk])
        active |= (f > 0).any(0)
        parts.append(sae.decode(f))
    return torch.cat(parts), active


def _by_size(sae: SparseAutoencoder, change: Float[Tensor, "tokens d_sae"]) -> Int[Tensor, " changed"]:
    """The features that change, the largest sum over tokens of |change| |W_dec| first; no effect has a say in it."""
    changed = torch.nonzero((change != 0).any(0))[:, 0]
    size = change[:, changed].abs().sum(0) * sae.W_dec[changed].norm(dim=1)
    return changed[size.argsort(descending=True, stable=True)]


def _random_move(
    sae: SparseAutoencoder,
    change: Float[Tensor, "tokens d_sae"],
    order: Int[Tensor, " changed"],
    pool: Int[Tensor, " active"],
    source: np.random.Generator,
) -> Float[Tensor, "tokens d_in"] | None:
    """The changes of a fact given to other features of the pool; None where the pool has no other.

    Where it has fewer than the fact changes, the largest changes are given.
    """
    free = pool[~torch.isin(pool, order)]
    drawn = free[torch.from_numpy(source.permutation(len(free))[: len(order)]).to(free.device)]
    if not len(drawn):
        return None
    own = order[: len(drawn)]
    return stand_in_move(change[:, own], sae.W_dec[own], sae.W_dec[drawn])


def _beside(hat: Float[Tensor, "tokens d_in"], other: slice, own: slice) -> Float[Tensor, "own d_in"]:
    """Another fact's reconstructions beside a fact's tokens: last to last, its first one where it has fewer."""
    n_own, n_other = own.stop - own.start, other.stop - other.start
    at = [other.start + max(0, n_other - n_own + nth) for nth in range(n_own)]
    return hat[at]


def _as_long(move: Float[Tensor, "tokens d_in"], wanted: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_in"]:
    """A move scaled to the length of another, token by token; 0 where it is 0."""
    tiny = torch.finfo(move.dtype).tiny
    return move * (wanted.norm(dim=1, keepdim=True) / move.norm(dim=1, keepdim=True).clamp(min=tiny))
