"""One small validation that several test files look at."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pandas as pd

from saeattr.attribution.group import GroupTables, attribute_group
from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import Sampling, sample_lists
from saeattr.behaviours.pair import Pair
from saeattr.model.loading import LanguageModel, load_model
from saeattr.runs.question import Pace, Question
from saeattr.runs.task import Task
from saeattr.saes.loading import SaeFile, find_saes
from saeattr.sites import Site
from saeattr.validation.evidence import Estimates
from saeattr.validation.group import ValidationPlan, ValidationTables, validate_features

SITES = (Site("attn_z", 1), Site("resid_post", 2), Site("mlp_out", 4), Site("resid_post", 5))
QUESTION, PACE = Question(), Pace(batch_size=4)
SMALL = ValidationPlan(top=6, n_controls=19, longest_curve=6)


@dataclass(frozen=True)
class Attributed:
    """Seven pairs about animals, attributed at ``SITES``, and six others to test on."""

    lm: LanguageModel
    pairs: list[Pair]
    fresh: list[Pair]
    saes: list[SaeFile]
    tables: GroupTables

    @property
    def features(self) -> pd.DataFrame:
        return self.tables.features

    @property
    def estimates(self) -> Estimates:
        return Estimates(self.features, self.tables.attributions)

    def task(self, question: Question = QUESTION, pace: Pace = PACE) -> Task:
        return Task(self.lm, self.pairs, self.saes, question, pace)

    def validate(self, wanted: ValidationPlan = SMALL, task: Task | None = None) -> ValidationTables:
        return validate_features(task or self.task(), self.estimates, wanted, self.fresh)


@functools.cache
def attributed() -> Attributed:
    lm = load_model("bundled", device="cpu")
    pairs, fresh = (
        make_pairs(lm.tokenizer, sample_lists(lm, "animals", Sampling(n_lists, seed=seed)))[0]
        for n_lists, seed in ((7, 2), (6, 3))
    )
    found = find_saes("bundled")
    saes = [found[site] for site in SITES]
    return Attributed(lm, pairs, fresh, saes, attribute_group(Task(lm, pairs, saes, pace=PACE)))


@functools.cache
def validated() -> ValidationTables:
    return attributed().validate()
