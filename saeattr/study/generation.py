"""The stage that ablates while generating: what a topic's lists become without its top features."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from saeattr.behaviours.lists.swap import check_beside
from saeattr.behaviours.lists.topics import SWAPS
from saeattr.errors import UserError
from saeattr.generation.ablation import Sampling
from saeattr.generation.group import GenerationPlan, generate_group
from saeattr.generation.summary import summarise
from saeattr.study.attribution import Attribution
from saeattr.study.pairs import fresh_seed
from saeattr.study.prepare import Prepared
from saeattr.study.stage import Outcome, Stage, Work
from saeattr.tables import FEATURES, GENERATED, GENERATION, Table, sites_of


@dataclass(frozen=True)
class Generating(Stage):
    """Lists written while a site's top features are held at their base value, with controls and steering."""

    plan: GenerationPlan = dataclasses.field(default_factory=GenerationPlan)

    name: ClassVar[str] = "generation"
    joined: ClassVar[tuple[Table, ...]] = (GENERATION,)
    kept: ClassVar[tuple[Table, ...]] = (GENERATED,)

    def run(self, work: Work) -> Outcome:
        settings = work.prepared.settings
        check_generation(work.prepared)
        features = Attribution.read(work.study, FEATURES, work.group)
        sites = set(sites_of(features.sort_values("rank", kind="stable").head(self.plan.top)))
        task = dataclasses.replace(work.task, saes=[file for file in work.task.saes if file.site in sites])
        clean, corrupted = SWAPS[settings.swap]
        sampling = Sampling(
            n_lists=settings.n_pairs,
            length=clean,
            corrupted=corrupted,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
            batch_size=work.task.pace.batch_size,
            seed=fresh_seed(settings),
        )
        rows = generate_group(task, features, self.plan, sampling)
        if rows.empty:
            return Outcome()
        return Outcome({"generation": summarise(rows), "generated": rows})


def check_generation(prepared: Prepared) -> None:
    """Refuse a study whose prompts the model does not go on from, or whose base it cannot be held at meanwhile.

    Raises:
        UserError: its behaviour is not lists, or its requests have unequally many tokens (corrupted base).
    """
    settings = prepared.settings
    if settings.behaviour != "lists":
        raise UserError(f"--generate writes lists, and this study is of {settings.behaviour}: leave it out")
    if settings.base == "corrupted":
        for topic in prepared.groups:
            check_beside(prepared.tokenizer, topic, *SWAPS[settings.swap])
