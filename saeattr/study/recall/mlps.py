"""MLPs: what they make of the heads' outputs at the final position, and where their intercepts point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from saeattr.recall.claims import Claim
from saeattr.recall.mlps import DRAWS, find_families, fit_all, fit_rows, weight_rows
from saeattr.recall.regression import Fitting, interval, resampled
from saeattr.recall.task_function import NO_FOLD, answer_directions, fact_rows, intercept_rows, token_rows
from saeattr.recall.writes import final_writes, lacks_writes
from saeattr.stats import mean_interval
from saeattr.study.recall.part import FactStage, RecallPart
from saeattr.study.results import Study
from saeattr.study.stage import Outcome, Work
from saeattr.tables import RECALL_MLP_FACTS, RECALL_MLP_INTERCEPT, RECALL_MLPS, Table

NAME, SOURCE = "mlps", "Lv et al. 2024, arXiv 2403.19521"
#: Stated before anything was measured.
R2_LIMIT, ABOVE_LIMIT = 0.5, 0.95


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
            return Outcome(warnings=[f"{NAME}: {why}"])
        writes = final_writes(task)
        families = find_families(writes, seed)
        if families is None:
            return Outcome(warnings=[f"{NAME}: {len(task.pairs)} facts have too few different answers for folds"])
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
    """Linearity on held-out facts; where the intercept points; what it does to the ranks of entity and answer."""
    facts = study.recall_mlps(RECALL_MLP_FACTS)
    if facts.empty:
        return []
    intercepts = study.recall_mlps(RECALL_MLP_INTERCEPT)
    left_out = intercepts[intercepts["chosen"] & (intercepts["fold"] != NO_FOLD)]
    return [_linear(facts, study.record["settings"]["seed"]), _points(left_out), *_moves(facts, left_out)]


def _linear(facts: pd.DataFrame, seed: int) -> Claim:
    wide = {
        name: facts.pivot_table(index=["category", "pair_id"], columns="layer", values=name, sort=False)
        for name in ("error", "spread")
    }
    answers = facts.drop_duplicates(["category", "pair_id"])["answer"].tolist()
    times = np.concatenate([np.ones((1, len(answers))), resampled(answers, DRAWS, seed)])
    r2 = (1 - (times @ wide["error"].to_numpy()) / (times @ wide["spread"].to_numpy())).mean(1)
    low, high = interval(r2[1:])
    return Claim(
        NAME,
        "linear",
        "what an MLP writes at the final position is a weighted sum of what heads and earlier parts wrote, plus an intercept",
        SOURCE,
        "R2 on held-out facts (an intercept alone: 0), mean over layers",
        float(r2[0]),
        float(low),
        float(high),
        "above",
        R2_LIMIT,
        len(answers),
    )


def _points(left_out: pd.DataFrame) -> Claim:
    shares = left_out["above"].to_numpy()
    low, high = mean_interval(shares[None])
    return Claim(
        NAME,
        "intercept",
        "an MLP's intercept points from the entity to the answer",
        SOURCE,
        "share of random directions with a lower cosine, on held-out facts, in the layer that the other facts choose, "
        "mean over folds",
        float(shares.mean()),
        float(low[0]),
        float(high[0]),
        "above",
        ABOVE_LIMIT,
        len(shares),
    )


def _moves(facts: pd.DataFrame, left_out: pd.DataFrame) -> list[Claim]:
    """Doublings of rank, beside those of a random direction of the same length."""
    own = facts.merge(left_out[["layer", "fold"]], on=["layer", "fold"])
    found = []
    for name, sign, does in (("entity", 1, "lowers the entity's rank"), ("answer", -1, "raises the answer's rank")):
        more = sign * np.log2(own[f"{name}_after"] / own[f"{name}_random"]).to_numpy(dtype=float)
        low, high = mean_interval(more[None])
        found.append(
            Claim(
                NAME,
                f"{name}-rank",
                f"adding the intercept {does}",
                SOURCE,
                "doublings of the lens rank on held-out facts, beside a random direction of the same length, mean",
                float(more.mean()),
                float(low[0]),
                float(high[0]),
                "above",
                0.0,
                len(more),
            )
        )
    return found


PART = RecallPart(
    NAME,
    "what MLPs make of the heads' outputs: a weighted sum and an intercept; where the intercept points",
    stages,
    claims=claims,
)
