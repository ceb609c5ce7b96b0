"""Triage: how far each fact's entity moves the answer, ranked; and which facts are worth a closer look.

LD = logit(clean_target) - logit(corrupt_target), read at the last token of both prompts. The prompts differ in the
entity alone, so the swing, LD after the clean prompt minus LD after the corrupted one, is all that patching can move.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import pandas as pd
import torch

from saeattr.behaviours.given.rows import RowFault
from saeattr.behaviours.pair import pad_pairs
from saeattr.errors import UserError
from saeattr.model.capture import final_hidden
from saeattr.model.loading import LanguageModel
from saeattr.model.prompts import Prompts
from saeattr.progress import OnStep, quiet
from saeattr.recall.facts.answers import Answers, read_answers
from saeattr.recall.facts.check import AlignedFact
from saeattr.runs.halving import batches_that_fit
from saeattr.tables import TRIAGE

Selection = Literal["A", "B", "C"]
#: With a line of help each.
SELECTIONS: dict[Selection, str] = {
    "A": "the 15 known facts of the largest swing",
    "B": "of each category the known fact of the largest swing",
    "C": "every known fact",
}
#: Facts of selection A.
FIRST = 15


def measure_facts(
    lm: LanguageModel, facts: Sequence[AlignedFact], batch_size: int = 16, on_step: OnStep = quiet
) -> pd.DataFrame:
    """Ask the model every fact, both prompts: ``tables.TRIAGE``, the largest swing first; nothing is selected yet.

    Args:
        batch_size: facts in one forward; half as many where memory runs out.

    Raises:
        UserError: one fact at a time does not fit.
    """
    rows: list[dict[str, Any]] = []

    def attempt(asked: Sequence[AlignedFact]) -> list[dict[str, Any]]:
        on_step("asking", len(rows), len(facts))
        padded = pad_pairs([fact.pair for fact in asked], lm.pad_id)
        assert padded.corrupted is not None
        both = [_ask(lm, prompts, asked) for prompts in (padded.clean, padded.corrupted)]
        return list(_rows(lm, asked, *both))

    for found in batches_that_fit(lm.device, facts, batch_size, attempt, one="one fact"):
        rows += found
    on_step("asking", len(facts), len(facts))
    if not rows:
        return TRIAGE.empty()
    table = pd.DataFrame(rows).sort_values(["swing", "row"], ascending=[False, True])
    return TRIAGE.frame(table.assign(rank=range(1, len(table) + 1), selected=False))


def _ask(lm: LanguageModel, prompts: Prompts, facts: Sequence[AlignedFact]) -> Answers:
    """What the model answers at the end of each prompt of a batch."""
    points = [fact.pair.points[0] for fact in facts]
    with torch.no_grad():
        hidden = final_hidden(lm, prompts)
        at = torch.tensor([point.position for point in points], device=hidden.device)
        targets = torch.tensor([[*point.wanted, *point.unwanted] for point in points])
        return read_answers(lm, hidden[torch.arange(len(points), device=hidden.device), at], targets)


def _rows(
    lm: LanguageModel, facts: Sequence[AlignedFact], clean: Answers, corrupted: Answers
) -> Iterator[dict[str, Any]]:
    text = functools.cache(lambda token: str(lm.tokenizer.decode([token])))
    for at, fact in enumerate(facts):
        row = fact.row
        ld_clean, ld_corrupted = (float(one.logits[at, 0] - one.logits[at, 1]) for one in (clean, corrupted))
        right, other = clean.log_probs[at].exp().tolist()
        right_corrupted, other_corrupted = corrupted.log_probs[at].exp().tolist()
        yield {
            **{name: getattr(row, name) for name in ("category", "fact", "row", "pair_id", "phrasing")},
            **{name: value for name, value in row.as_cells().items() if name != "entity_token"},
            "entity": fact.entity,
            "n_tokens": len(fact.pair.clean_ids),
            "entity_first": fact.positions[0],
            "entity_last": fact.positions[-1],
            "ld_clean": ld_clean,
            "ld_corrupted": ld_corrupted,
            "swing": ld_clean - ld_corrupted,
            "p_right_clean": right,
            "p_other_clean": other,
            "p_right_corrupted": right_corrupted,
            "p_other_corrupted": other_corrupted,
            "rank_clean": int(clean.ranks[at, 0]),
            "rank_corrupted": int(corrupted.ranks[at, 1]),
            "top_clean": text(int(clean.top[at])),
            "top_corrupted": text(int(corrupted.top[at])),
            "known": ld_clean > 0 > ld_corrupted,
        }


def unknown_faults(triage: pd.DataFrame) -> list[RowFault]:
    """The rows whose fact the model does not know, each with what it prefers."""
    faults = []
    for row in triage[~triage["known"]].sort_values("row").to_dict("records"):
        on_clean = row["ld_clean"] <= 0
        right, other = (row["clean_target"], row["corrupt_target"])[:: 1 if on_clean else -1]
        which, rank = ("clean", row["rank_clean"]) if on_clean else ("corrupted", row["rank_corrupted"])
        reason = f"the model does not know it: after the {which} prompt it prefers {other!r} to {right!r} (rank {rank})"
        faults.append(
            RowFault(row["row"], row["pair_id"], reason, "ask another fact, or another model", row["category"])
        )
    return faults


def read_selection(name: str) -> Selection:
    """A selection by its letter, large or small.

    Raises:
        UserError: there is none.
    """
    found = next((letter for letter in get_args(Selection) if letter == name.strip().upper()), None)
    if found is None:
        listed = "; ".join(f"{letter}: {help}" for letter, help in SELECTIONS.items())
        raise UserError(f"{name!r} is not a selection: choose one of {listed}")
    return found


def select_facts(triage: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """The triage with the selection's rows marked (``selected``).

    Of each fact only one row can be taken: the first in the battery's order that the model knows.
    """
    known = triage[triage["known"]].sort_values("row").drop_duplicates(["category", "fact"])
    known = known.sort_values("rank")
    if selection == "A":
        known = known.head(FIRST)
    if selection == "B":
        known = known.drop_duplicates("category")
    return triage.assign(selected=triage["row"].isin(known["row"]))
