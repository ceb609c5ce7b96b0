"""Shots: the same facts behind others of their relation, against nothing before them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from saeattr.model.loading import longest_input
from saeattr.patching.components import PATTERN, V, Z, lacking
from saeattr.recall.claims import Claim, Side, mean_and_ends
from saeattr.recall.shots.prompts import KnownFact, ShotPair, domains, shot_pairs
from saeattr.recall.shots.rows import shot_rows
from saeattr.study.recall.part import FactStage, RecallPart
from saeattr.study.results import Study
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import RECALL_SHOT_LENS, RECALL_SHOTS, Table

NAME, SOURCE = "shots", "Lv et al. 2024, arXiv 2403.19521"
#: Other facts before the asked one.
COUNTS = (1, 3)


@dataclass(frozen=True)
class Shots(FactStage):
    """Every fact behind nothing and behind other known facts of its relation.

    Attributes:
        counts: how many others.
        known: what can be shown.
    """

    counts: tuple[int, ...] = COUNTS
    known: tuple[KnownFact, ...] = ()

    name: ClassVar[str] = "recall_shots"
    joined: ClassVar[tuple[Table, ...]] = (RECALL_SHOTS, RECALL_SHOT_LENS)

    def wanted(self) -> str:
        """The facts that can be shown are told apart by a digest: there may be hundreds."""
        shown = hashlib.sha256(repr(self.known).encode("utf-8", "surrogatepass")).hexdigest()
        return json.dumps({**dataclasses.asdict(dataclasses.replace(self, known=())), "known": shown})

    def run(self, work: Work) -> Outcome:
        task = work.task
        why = next((found for one in (PATTERN, V, Z) if (found := lacking(one, task.lm))), "")
        if why:
            return self.skipped(f"{NAME}: {why}")
        shots, told = self._prompts(work)
        if not shots:
            return dataclasses.replace(self.skipped(f"{NAME}: no fact can be put behind others"), warnings=told)
        rows, lens = shot_rows(task, shots, domains(task.lm.tokenizer, self.known))
        return Outcome({"recall_shots": rows, "recall_shot_lens": lens}, told)

    def _prompts(self, work: Work) -> tuple[list[ShotPair], list[str]]:
        """Every prompt of the facts that have all of them, and why others have not, counted."""
        task, found = work.task, []
        lacked: Counter[str] = Counter()
        longest = longest_input(task.lm.hf.config)
        for pair in task.pairs:
            own = [one for one in self.known if one.category == pair.group]
            made, why = shot_pairs(task.lm.tokenizer, pair, own, self.counts, task.pace.seed)
            size = max((len(one.pair.clean_ids) for one in made), default=0)
            if longest is not None and size > longest:
                made, why = [], f"behind others it has more than the {longest} tokens that the model reads"
            found += made
            if why:
                lacked[why] += 1
        return found, [f"{NAME}: {count} of {len(task.pairs)} facts: {why}" for why, count in lacked.items()]


def with_known(stages: Sequence[Stage], known: tuple[KnownFact, ...]) -> list[Stage]:
    """The same stages; those that show facts are told which ones the model knows."""
    return [dataclasses.replace(one, known=known) if isinstance(one, Shots) else one for one in stages]


def stages(groups: tuple[str, ...] = ()) -> list[Shots]:
    """One stage, of all facts; ``with_known`` tells it what can be shown."""
    return [Shots(groups=groups)]


def claims(study: Study) -> list[Claim]:
    """Whether movers lie earlier, and the output domain is narrower, behind the most others that were shown."""
    rows = study.recall(RECALL_SHOTS)
    if rows.empty:
        return []
    most = int(rows["shots"].max())
    names = ["domain", "p_answer", "mover_layer", "attention_layer", "known"]
    zero, few = (rows[rows["shots"] == count].set_index(["category", "pair_id"])[names] for count in (0, most))
    few = few.reindex(zero.index)
    both = (zero["known"] & few["known"]).to_numpy(dtype=bool)
    change = (few.drop(columns="known") - zero.drop(columns="known")).astype(float)
    of_known = "over facts that are known in both"
    behind = f"behind {most} facts - behind none"
    return [
        _claim(
            "movers",
            "heads move the fact to the final position in earlier layers of a few-shot prompt",
            f"centre over layers of what single heads move, {behind}, mean {of_known}, layers",
            change["mover_layer"].to_numpy()[both],
            "below",
        ),
        _claim(
            "attention",
            "the entity is attended to most in an earlier layer of a few-shot prompt",
            f"layer of the head that attends to it most, {behind}, mean {of_known}, layers",
            change["attention_layer"].to_numpy()[both],
            "below",
        ),
        _claim(
            "domain",
            "a few-shot prompt narrows the output to answers of the relation",
            f"P(any answer of the relation), {behind}, mean over facts",
            change["domain"].to_numpy(),
            "above",
        ),
        _claim(
            "answer",
            "a few-shot prompt makes the right answer likelier",
            f"P(right answer), {behind}, mean over facts",
            change["p_answer"].to_numpy(),
            "above",
        ),
    ]


def _claim(name: str, statement: str, measure: str, changes: NDArray[np.float64], side: Side) -> Claim:
    """A mean change with Student's interval, and 0 as the limit."""
    values = changes[np.isfinite(changes)]
    return Claim(NAME, name, statement, SOURCE, measure, *mean_and_ends(values), side, 0.0, len(values))


PART = RecallPart(
    NAME,
    "the same facts behind one and three others of their relation: answer, output domain, where they are moved",
    stages,
    claims=claims,
)
