"""Facts steered by their features: where in the model does setting them to another entity's flip the answer?

x becomes x + strength * move at the entity's tokens, or at the final position, of the clean prompt; the layers above
run again (``recompute``), and the answer is read. ``saeattr.recall.steering.moves`` says what the moves are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from saeattr.model.capture import final_hidden
from saeattr.model.hookpoints import HookPoint
from saeattr.model.recompute import Span, recompute
from saeattr.recall.facts.answers import Answers, join_answers, read_answers
from saeattr.recall.steering.moves import (
    ACTIVATION,
    PLACES,
    PlaceTokens,
    SiteMoves,
    other_facts,
    place_tokens,
    site_moves,
)
from saeattr.runs.batch import BatchRuns
from saeattr.runs.task import Task, run_pairs
from saeattr.runs.unedited import needs_unedited, with_unedited
from saeattr.saes.loading import stream_saes
from saeattr.sites import Site
from saeattr.tables import STEERED, site_columns

STRENGTHS = (0.5, 1.0, 2.0, 4.0)
SIZES = (1, 5, 20)


@dataclass(frozen=True)
class Steps:
    """How far and how finely facts are steered.

    Attributes:
        strengths: times each move; the activation is swapped at 1 alone.
        sizes: numbers of features that are set, the largest first; all of them are set beside.
    """

    strengths: tuple[float, ...] = STRENGTHS
    sizes: tuple[int, ...] = SIZES


def steer_facts(task: Task, steps: Steps) -> pd.DataFrame:
    """Every fact steered at every site of the task: ``tables.STEERED``.

    Args:
        task: pairs of facts whose prompts align; its SAEs are opened one at a time.
    """
    batches = run_pairs(task, [file.site for file in task.saes])
    pairs = [pair for batch in batches for pair in batch.pairs]
    others = other_facts(pairs, task.pace.seed)
    before = {which: _differences(unsteered_answers(batches, which)) for which in ("clean", "corrupted")}
    tables = []
    for done, sae in enumerate(stream_saes(task.saes, task.lm.device)):
        task.on_step("steering", done, len(task.saes))
        for place in PLACES:
            tokens = place_tokens(batches, place)
            moves = site_moves(sae, batches, tokens, others, steps.sizes, task.pace.seed)
            found = pd.concat(
                [
                    _steered_batch(batch, nth, sae.site, (tokens, moves), steps, task.pace.copies)
                    for nth, batch in enumerate(batches)
                ],
                ignore_index=True,
            )
            told = pd.DataFrame({"group": [pair.group for pair in pairs], "pair_id": [pair.pair_id for pair in pairs]})
            told = told.assign(**before)
            tables.append(found.join(told, on="fact").assign(**site_columns(sae.site), place=place))
    task.on_step("steering", len(task.saes), len(task.saes))
    return STEERED.frame(pd.concat(tables, ignore_index=True) if tables else pd.DataFrame())


def answer_ids(batch: BatchRuns) -> Int[Tensor, "batch two"]:
    """clean_target and corrupt_target of each fact."""
    return torch.tensor([(pair.points[0].wanted[0], pair.points[0].unwanted[0]) for pair in batch.pairs])


@torch.no_grad()
def steered_answers(
    batch: BatchRuns,
    site: HookPoint,
    row: Int[Tensor, " tokens"],
    position: Int[Tensor, " tokens"],
    moves: Float[Tensor, "ways tokens d_in"],
    copies: int,
) -> Iterator[Answers]:
    """What each fact of a batch is answered with when x is moved at its tokens; for some ways at a time, way by way.

    Where the dtype is coarser than float32, logits differ from the clean run's as they do from those of unedited copies
    in the same forward (``saeattr.runs.unedited``); ranks and likeliest tokens are the edited copies' own.

    Args:
        row, position: the tokens' places in the batch.
        copies: copies in one forward, unedited ones among them; one way always runs.
    """
    n, x_clean = len(batch.pairs), batch.clean.x[site]
    at = torch.tensor([pair.points[0].position for pair in batch.pairs], device=x_clean.device)
    span = Span(int(position.min()), int(at.max()) + 1)
    row, position, targets = (part.to(x_clean.device) for part in (row, position - span.first, answer_ids(batch)))
    plain = unsteered_answers([batch], "clean") if needs_unedited(batch) else None
    for part in moves.split(max(1, copies // n - (plain is not None))):
        rows = with_unedited(batch, torch.arange(n, device=x_clean.device).repeat(len(part)))
        copy = torch.arange(len(part), device=x_clean.device)[:, None] * n + row
        x = x_clean[:, span.first : span.stop][rows].float()
        x.index_put_((copy, position.expand_as(copy)), part, accumulate=True)
        hidden = recompute(batch.clean, site, x, rows, span, at[rows][:, None])
        answers = read_answers(batch.lm, hidden[:, 0], targets[rows])
        yield answers if plain is None else _against_unedited(answers, plain)


def _against_unedited(answers: Answers, plain: Answers) -> Answers:
    """The edited copies' answers, moved as far as the unedited ones behind them are off the clean run's."""
    n = len(plain.top)
    edited, unedited = answers.take(slice(0, -n)), answers.take(slice(-n, None))
    ways = len(edited.top) // n
    # In this order, so that an edit that changes nothing gives the clean run's own number.
    logits, log_probs = (
        clean.repeat(ways, 1) + (mine - beside.repeat(ways, 1))
        for clean, mine, beside in (
            (plain.logits, edited.logits, unedited.logits),
            (plain.log_probs, edited.log_probs, unedited.log_probs),
        )
    )
    return dataclasses.replace(edited, logits=logits, log_probs=log_probs)


def _steered_batch(
    batch: BatchRuns, nth: int, site: Site, moved: tuple[PlaceTokens, SiteMoves], steps: Steps, copies: int
) -> pd.DataFrame:
    """The rows of one batch at one site and place; ``fact`` is the number over all batches."""
    tokens, moves = moved
    own = tokens.batch == nth
    plan = [
        (way, strength)
        for way, name in enumerate(moves.towards)
        for strength in ((1.0,) if name == ACTIVATION else steps.strengths)
    ]
    ways, strengths = torch.tensor([way for way, _ in plan]), torch.tensor([strength for _, strength in plan])
    scaled = moves.move[:, own.to(moves.move.device)][ways.to(moves.move.device)]
    scaled = scaled * strengths.to(scaled)[:, None, None]
    answers = join_answers(list(steered_answers(batch, site, tokens.row[own], tokens.position[own], scaled, copies)))
    facts, inverse = tokens.fact[own].unique(return_inverse=True)
    length, cosine = (_by_fact(values, inverse) for values in _geometry(scaled.cpu()))
    return pd.DataFrame(
        {
            "fact": facts.repeat(len(plan)).numpy(),
            "towards": [moves.towards[way] for way, _ in plan for _ in facts],
            "n_features": [moves.n_features[way] for way, _ in plan for _ in facts],
            "strength": strengths.double().repeat_interleave(len(facts)).numpy(),
            "n_moved": moves.n_moved[ways][:, facts].flatten().numpy(),
            "length": length.flatten().double().numpy(),
            "cosine": cosine.flatten().double().numpy(),
            "ld": _differences(answers),
            "rank_clean": answers.ranks[:, 0].numpy(),
            "rank_corrupt": answers.ranks[:, 1].numpy(),
        }
    )[moves.there[ways][:, facts].flatten().numpy()]


def _differences(answers: Answers) -> NDArray[np.float64]:
    """LD of each row."""
    logits = answers.logits.double().numpy()
    return logits[:, 0] - logits[:, 1]


def _geometry(scaled: Float[Tensor, "ways tokens d_in"]) -> tuple[Tensor, Tensor]:
    """Lengths of the moves, and their cosines with the first one: all features at the first strength."""
    length = scaled.norm(dim=2)
    cosine = torch.nn.functional.cosine_similarity(scaled, scaled[:1], dim=2)
    return length, cosine.masked_fill((length == 0) | (length[:1] == 0), torch.nan)


def _by_fact(values: Float[Tensor, "ways tokens"], inverse: Int[Tensor, " tokens"]) -> Float[Tensor, "ways facts"]:
    """Means over the tokens of each fact."""
    totals = values.new_zeros(len(values), int(inverse.max()) + 1).index_add(1, inverse, values)
    return totals / torch.bincount(inverse)


@torch.no_grad()
def unsteered_answers(batches: Sequence[BatchRuns], which: str) -> Answers:
    """What every fact is answered with after its clean or corrupted prompt."""
    parts = []
    for batch in batches:
        run = batch.clean if which == "clean" else batch.corrupted
        assert run is not None
        hidden = final_hidden(batch.lm, run.prompts)
        at = torch.tensor([pair.points[0].position for pair in batch.pairs], device=hidden.device)
        rows = torch.arange(len(at), device=hidden.device)
        parts.append(read_answers(batch.lm, hidden[rows, at], answer_ids(batch)))
    return join_answers(parts)
