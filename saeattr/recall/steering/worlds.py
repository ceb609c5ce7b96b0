"""Worlds: does a context that states other answers move facts, and do features move them into such a world?

Before the question of a fact stands a statement made of the battery's own rows: of the fact itself (own), or of another
one (other). In the true world it ends with the right answer, in the false world with the corrupted one; the prompts
differ in that token alone. Features are moved from the true world to the false one at that token (context) or at the
final position, by the fact's own change (fact), or by the mean change of the facts of the other half (world): what
moves a fact that had no part in it is of the world, and not of the fact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saeattr.behaviours.pair import BOS, Pair, Point
from saeattr.model.loading import LanguageModel
from saeattr.recall.facts.answers import Answers, join_answers
from saeattr.recall.facts.check import ENTITY
from saeattr.recall.steering.moves import FINAL, OTHER, SAME, PlaceTokens, other_facts, place_tokens, site_moves
from saeattr.recall.steering.steered import steered_answers, unsteered_answers
from saeattr.runs.batch import BatchRuns
from saeattr.runs.task import Task, run_pairs
from saeattr.saes.loading import stream_saes
from saeattr.sites import Site
from saeattr.tables import WORLDS, site_columns

#: Whose statement the context makes.
ABOUT = ("own", "other")
#: What is moved: nothing in the true world, nothing in the false one, or features in the true one.
TRUE, FALSE, FACT, WORLD = "true", "false", "fact", "world"
CONTEXT = "context"
STRENGTHS = (1.0, 4.0)
#: Between a statement and the question.
SEPARATOR = ".\n"


def separator_ids(lm: LanguageModel) -> tuple[int, ...]:
    """The tokens of ``SEPARATOR``."""
    return tuple(lm.tokenizer.encode(SEPARATOR, add_special_tokens=False))


def steer_worlds(task: Task, separator: tuple[int, ...]) -> pd.DataFrame:
    """Every fact in both worlds, and moved between them at every resid_post site: ``tables.WORLDS``.

    Args:
        separator: the tokens between a statement and the question.
    """
    files = [file for file in task.saes if file.site.kind == "resid_post"]
    tables = []
    total = len(ABOUT) * len(files)
    for nth, about in enumerate(ABOUT):
        pairs = world_pairs(task.pairs, about, separator, task.pace.seed)
        if not pairs:
            continue
        batches = run_pairs(dataclasses.replace(task, pairs=pairs), [file.site for file in files])
        plain = (("clean", TRUE), ("corrupted", FALSE))
        parts = [_rows(unsteered_answers(batches, run), towards) for run, towards in plain]
        for done, sae in enumerate(stream_saes(files, task.lm.device)):
            task.on_step("worlds", nth * len(files) + done, total)
            for place, role in ((CONTEXT, ENTITY), (FINAL, FINAL)):
                tokens = place_tokens(batches, role)
                own = site_moves(sae, batches, tokens, {SAME: [None] * len(pairs), OTHER: [None] * len(pairs)}, (), 0)
                ways = [(towards, strength) for towards in (FACT, WORLD) for strength in STRENGTHS]
                changes = {FACT: own.move[0], WORLD: of_other_half(own.move[0])}
                moves = torch.stack([strength * changes[towards] for towards, strength in ways])
                for way, answers in enumerate(_moved(batches, sae.site, tokens, moves, task.pace.copies)):
                    told = {**site_columns(sae.site), "place": place, "strength": ways[way][1]}
                    length = moves[way].norm(dim=1).cpu().double().numpy()
                    parts.append(_rows(answers, ways[way][0]).assign(**told, length=length))
        names = pd.DataFrame({"group": [pair.group for pair in pairs], "pair_id": [pair.pair_id for pair in pairs]})
        tables += [names.join(part).assign(about=about) for part in parts]
    task.on_step("worlds", total, total)
    return WORLDS.frame(pd.concat(tables, ignore_index=True) if tables else pd.DataFrame())


def world_pairs(pairs: Sequence[Pair], about: str, separator: tuple[int, ...], seed: int) -> list[Pair]:
    """Each fact behind a statement in the true world (clean) and in the false one (corrupted).

    The statement's answer has the entity's role: it is all that differs. Of another fact it is one with a third answer,
    of the relation where there is one; facts without any are left out.
    """
    others, found = other_facts(pairs, seed), []
    for fact, pair in enumerate(pairs):
        same, beside = others[SAME][fact], others[OTHER][fact]
        other = fact if about == "own" else same if same is not None else beside
        if other is None:
            continue
        stated, asked = pairs[other], pair.clean_ids[1 if pair.roles[0] == BOS else 0 :]
        answers = stated.points[0].wanted[0], stated.points[0].unwanted[0]
        true, false = ((*stated.clean_ids, answer, *separator, *asked) for answer in answers)
        roles = tuple(BOS if role == BOS else "statement" for role in stated.roles)
        roles = (*roles, ENTITY, *("statement" for _ in separator), *("question" for _ in asked))
        point = Point(len(true) - 1, pair.points[0].wanted, pair.points[0].unwanted)
        found.append(dataclasses.replace(pair, clean_ids=true, corrupted_ids=false, roles=roles, points=(point,)))
    return found


def of_other_half(move: Float[Tensor, "facts d_in"]) -> Float[Tensor, "facts d_in"]:
    """For every second fact the mean of the others, and the other way round; of a single fact nothing."""
    means = [move[half::2].mean(0) if len(move[half::2]) else torch.zeros_like(move[0]) for half in (1, 0)]
    return torch.stack([means[fact % 2] for fact in range(len(move))])


def _moved(
    batches: Sequence[BatchRuns], site: Site, tokens: PlaceTokens, moves: Float[Tensor, "ways facts d_in"], copies: int
) -> list[Answers]:
    """For each way the answers of all facts, each moved at its one token."""
    by_way: list[list[Answers]] = [[] for _ in moves]
    for nth, batch in enumerate(batches):
        own, n = tokens.batch == nth, len(batch.pairs)
        some = moves[:, own.to(moves.device)]
        found = join_answers(list(steered_answers(batch, site, tokens.row[own], tokens.position[own], some, copies)))
        for way, parts in enumerate(by_way):
            parts.append(found.take(slice(way * n, (way + 1) * n)))
    return [join_answers(parts) for parts in by_way]


def _rows(answers: Answers, towards: str) -> pd.DataFrame:
    """A row a fact; of no site where nothing is moved."""
    logits = answers.logits.double()
    return pd.DataFrame(
        {
            **{"layer": -1, "kind": "", "place": "", "towards": towards, "strength": 0.0, "length": 0.0},
            "ld": (logits[:, 0] - logits[:, 1]).numpy(),
            "rank_clean": answers.ranks[:, 0].numpy(),
            "rank_corrupt": answers.ranks[:, 1].numpy(),
        }
    )
