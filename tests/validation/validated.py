"""One small validation that several test files look at."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pandas as pd
from saeattr.behaviours.pair import Pair

from saeattr.attribution.group import AttributionPlan, GroupTables, attribute_group
from saeattr.behaviours.lists.pairs import make_pairs
from saeattr.behaviours.lists.sampling import sample_lists
from saeattr.model.loading import LanguageModel, load_model
from saeattr.runs.metric import make_metric
from saeattr.saes.loading import SaeFile, find_saes
from saeattr.sites import Site
from saeattr.validation.group import ValidationPlan, ValidationTables, validate_features

SITES = (Site("attn_z", 1), Site("resid_post", 2), Site("mlp_out", 4), Site("resid_post", 5))
SMALL = ValidationPlan(top=6, n_controls=4, longest_curve=6)


@dataclass(frozen=True)
class Attributed:
    """Seven pairs about animals, attributed at ``SITES``."""

    lm: LanguageModel
    pairs: list[Pair]
    saes: list[SaeFile]
    plan: AttributionPlan
    tables: GroupTables

    @property
    def features(self) -> pd.DataFrame:
        return self.tables.features

    def validate(self, wanted: ValidationPlan = SMALL, **changes: object) -> ValidationTables:
        arguments = {"plan": self.plan, "attributions": self.tables.attributions, **changes}
        return validate_features(self.lm, self.pairs, self.saes, self.features, wanted=wanted, **arguments)  # pyright: ignore[reportArgumentType]


@functools.cache
def attributed() -> Attributed:
    lm = load_model("bundled", device="cpu")
    pairs, _ = make_pairs(lm.tokenizer, sample_lists(lm, "animals", 7, seed=2))
    found = find_saes("bundled")
    saes = [found[site] for site in SITES]
    plan = AttributionPlan(make_metric("end-vs-continue", lm.tokenizer), batch_size=4)
    return Attributed(lm, pairs, saes, plan, attribute_group(lm, pairs, saes, plan))


@functools.cache
def validated() -> ValidationTables:
    return attributed().validate()
