"""MLPs: what they make of the heads' outputs at the final position, and where their intercepts point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from saeattr.recall.claims import Claim, mean_and_ends
from saeattr.recall.mlps.fits import DRAWS, find_families, fit_all, fit_rows, weight_rows
from saeattr.recall.mlps.regression import Fitting, interval, resampled
from saeattr.recall.mlps.task_function import NO_FOLD, answer_directions, fact_rows, intercept_rows, token_rows
from saeattr.recall.mlps.writes import final_writes, lacks_writes
from saeattr.study.recall.part import FactStage, RecallPart
from saeattr.study.results import Study
from saeattr.study.stage import Outcome, Work
from saeattr.tables import RECALL_MLP_FACTS, RECALL_MLP_INTERCEPT, RECALL_MLPS, Table

NAME, SOURCE = "mlps", "Lv et al. 2024, arXiv 2403.19521"
#: Stated before anything was measured.
R2_LIMIT, ABOVE_LIMIT = 0.5, 0.95
#: What a regression is of, in words.
SCOPES = {"all": "one regression for all relations", "relation": "a regression for each relation"}


@dataclass(frozen=True)
class Mlps(FactStage):
    """Every MLP's output at the final position regressed on what was written before it.

    Attributes:
        fit: ridge in closed form, or sgd: gradient descent with momentum, as the source has it.
    """

    fit: Fitting = "ridge"

    name: ClassVar[str] = "recall_mlps"
    joined: ClassVar[tuple[Table, ...]] = RECALL_MLPS

    def run(self, work: Work) -> Outcome:
        task, seed = work.task, work.task.pace.seed
        why = lacks_writes(task.lm)
        if why:
            return self.skipped(f"{NAME}: {why}")
        writes = final_writes(task)
        families = find_families(writes, seed)
        if families is None:
            return self.skipped(f"{NAME}: {len(task.pairs)} facts have too few different answers for folds")
        fits = []
        for fit in fit_all(writes, families, self.fit):
            task.on_step("regressing MLPs", fit.layer, task.lm.n_layers)
            fits.append(fit)
        tables = {
            "recall_mlp_fit": pd.concat([fit_rows(one, writes, families, seed, self.fit) for one in fits]),
            "recall_mlp_weights": pd.concat([weight_rows(one, writes, families, seed) for one in fits]),
            "recall_mlp_intercept": intercept_rows(fits, answer_directions(task.lm, writes), seed),
            "recall_mlp_tokens": token_rows(task.lm, fits, writes.answer),
            "recall_mlp_facts": fact_rows(task.lm, fits, writes, seed),
        }
        task.on_step("regressing MLPs", task.lm.n_layers, task.lm.n_layers)
        return Outcome(tables)


def stages(groups: tuple[str, ...] = ()) -> list[Mlps]:
    """One stage, of all facts."""
    return [Mlps(groups=groups)]


def claims(study: Study) -> list[Claim]:
    """Linearity on held-out facts; where the intercept points; what it does to the ranks of entity and answer.

    All of it twice: of one regression over all relations, and, where a relation has enough facts, of each by itself.
    """
    facts, intercepts = study.recall(RECALL_MLP_FACTS), study.recall(RECALL_MLP_INTERCEPT)
    left_out = intercepts[intercepts["chosen"] & (intercepts["fold"] != NO_FOLD)]
    found = []
    for fitted, words in SCOPES.items():
        own = facts[facts["fitted"] == fitted]
        if len(own):
            of_all = left_out["category"] == ""
            asked = Asked(fitted, words, own, left_out[of_all if fitted == "all" else ~of_all])
            found += [asked.linear(study.record["settings"]["seed"]), asked.points(), *asked.moves()]
    return found


@dataclass(frozen=True)
class Asked:
    """What the claims of one kind of fit are judged by.

    Attributes:
        facts: ``tables.RECALL_MLP_FACTS`` of it; left_out: rows of ``tables.RECALL_MLP_INTERCEPT`` with a fold left
            out, of the layer that the other facts choose.
    """

    fitted: str
    words: str
    facts: pd.DataFrame
    left_out: pd.DataFrame

    def linear(self, seed: int) -> Claim:
        """R2 over layers; the bootstrap draws answers."""
        key = ["category", "pair_id"]
        error, spread = (
            self.facts.pivot_table(index=key, columns="layer", values=name, sort=False).to_numpy()
            for name in ("error", "spread")
        )
        answers = self.facts.drop_duplicates(key)["answer"].tolist()
        times = np.concatenate([np.ones((1, len(answers))), resampled(answers, DRAWS, seed)])
        r2 = (1 - (times @ error) / (times @ spread)).mean(1)
        low, high = interval(r2[1:])
        statement = (
            "an MLP's output at the final position is a weighted sum of what was written before, and an intercept"
        )
        measure = f"R2 on held-out facts (an intercept alone: 0), mean over layers, {self.words}"
        return self._claim(
            "linear", statement, measure, (float(r2[0]), float(low), float(high)), R2_LIMIT, len(answers)
        )

    def points(self) -> Claim:
        """Of all facts over folds; of relations over these, folds averaged first."""
        by = "fold" if self.fitted == "all" else "category"
        shares = self.left_out.groupby(by)["above"].mean().to_numpy()
        measure = (
            "share of random directions with a lower cosine, on held-out facts, in the layer that the others choose, "
            f"{self.words} (n: {'folds' if by == 'fold' else 'relations'})"
        )
        statement = "an MLP's intercept points from the entity to the answer"
        value, low, high = mean_and_ends(shares)
        # No share lies outside.
        ends = (value, max(low, 0.0), min(high, 1.0))
        return self._claim("intercept", statement, measure, ends, ABOVE_LIMIT, len(shares))

    def moves(self) -> list[Claim]:
        """Doublings of rank from before to after; and beside a random direction as long, which moves ranks too."""
        key = ["layer", "fold"] if self.fitted == "all" else ["category", "layer", "fold"]
        own = self.facts.merge(self.left_out[key], on=key)
        found = []
        for name, sign, does in (("entity", 1, "lowers the entity's rank"), ("answer", -1, "raises the answer's rank")):
            for beside, control, than in (("before", "", ""), ("random", "-control", " more than a random direction")):
                more = sign * np.log2(own[f"{name}_after"] / own[f"{name}_{beside}"]).to_numpy(dtype=float)
                measure = (
                    f"doublings of the lens rank on held-out facts{than and ', beside one as long'}, mean, {self.words}"
                )
                statement = f"adding the intercept {does}{than}"
                found.append(
                    self._claim(f"{name}-rank{control}", statement, measure, mean_and_ends(more), 0.0, len(more))
                )
        return found

    def _claim(
        self, name: str, statement: str, measure: str, value: tuple[float, float, float], limit: float, n: int
    ) -> Claim:
        name = name if self.fitted == "all" else f"{name}-within"
        return Claim(NAME, name, statement, SOURCE, measure, *value, "above", limit, n)


PART = RecallPart(
    NAME,
    "what MLPs make of the heads' outputs: a weighted sum and an intercept; where the intercept points",
    stages,
    claims=claims,
)
